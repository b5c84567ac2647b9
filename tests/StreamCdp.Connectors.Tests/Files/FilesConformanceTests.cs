using System.Text.Json;
using StreamCdp.Connectors.Files;
using StreamCdp.Connectors.Tests.Kit;

namespace StreamCdp.Connectors.Tests.Files;

public sealed class NdjsonConformanceTests() : FilesConformance("ndjson");

public sealed class CsvConformanceTests() : FilesConformance("csv");

public abstract class FilesConformance(string extension) : DestinationConformance, IDisposable
{
    private readonly FilesFolder _folder = new();
    private FileStream? _lock;
    private bool _isRefusing;

    public void Dispose()
    {
        Behave(Receiving.Takes);
        _folder.Dispose();
        GC.SuppressFinalize(this);
    }

    protected override ValueTask<IDestination> CreateAsync(TimeSpan timeout) =>
        new(new Padded(new FilesDestination(_folder.Options("{date}." + extension) with { MaxBytes = 1 << 20, Timeout = timeout }, _folder.Time), () => _isRefusing));

    protected override void Behave(Receiving receiving)
    {
        _isRefusing = receiving == Receiving.RefusesOne;
        _folder.Time.Hold(receiving == Receiving.Hangs); // Stands for a disk that hangs: the clock is asked in the middle of the work.
        _lock?.Dispose();
        _lock = receiving == Receiving.IsAway ? new FileStream(_folder.PathOf($"2026-11-25.{extension}.20261125T000000000.part"), FileMode.Create, FileAccess.ReadWrite, FileShare.None) : null; // Another process has it.
    }

    protected override IReadOnlyList<string> Held() => [.. _folder.Lines().Where(line => !line.StartsWith("id,", StringComparison.Ordinal)).Select(line => extension == "csv" ? line.Split(',')[0] : JsonElement.Parse(line).GetProperty("id").GetString()!)];

    /// <summary>Makes the change of the bad profile larger than a file.</summary>
    private sealed class Padded(FilesDestination inner, Func<bool> isBad) : IDestination
    {
        public bool AnswersPerChange => inner.AnswersPerChange;

        public ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
        {
            JsonElement large = JsonElement.Parse($"\"{new string('x', 2 << 20)}\"");
            return inner.SendAsync([.. batch.Select(change => change with { Fields = new Dictionary<string, JsonElement> { ["Name"] = isBad() && change.ProfileId == BadProfile ? large : JsonElement.Parse("null") } })], cancellationToken);
        }

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }
}
