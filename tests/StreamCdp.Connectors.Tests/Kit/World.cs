using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using StreamCdp.Engine.Logs;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>Simulated logs with the records that the engine writes, and deliveries on them.</summary>
internal sealed class World : IDisposable
{
    private readonly SimulatedLogs _logs = new();
    private readonly SimulatedLog _memberships;
    private readonly SimulatedLog _profiles;
    private readonly SimulatedLog _letters;
    private readonly ILogWriter _membershipWriter;
    private readonly ILogWriter _profileWriter;
    private byte[] _buffer = new byte[1024];

    public World(int partitions = 1)
    {
        _memberships = _logs.OpenSimulated(new LogDefinition("memberships", partitions, LogCleanup.Compact));
        _profiles = _logs.OpenSimulated(new LogDefinition("profiles", partitions, LogCleanup.Compact));
        _letters = _logs.OpenSimulated(new LogDefinition("dead-letters", 1, LogCleanup.Delete));
        _membershipWriter = _memberships.OpenWriter();
        _profileWriter = _profiles.OpenWriter();
    }

    public JumpingTime Time { get; } = new();

    public string StatePath { get; } = Directory.CreateTempSubdirectory("streamcdp-connect-").FullName;

    public string CursorPath => Path.Combine(StatePath, "destination-hook.json");

    /// <summary>Profiles that a lookup finds, by id.</summary>
    public Dictionary<string, ProfileView> Profiles { get; } = [];

    public ConnectorMetrics Metrics { get; } = new(Prometheus.Metrics.NewCustomRegistry());

    public SimulatedLog Memberships => _memberships;

    public static string IdText(int profile) => ((UInt128)profile).ToString("x32", CultureInfo.InvariantCulture);

    public void Membership(int profile, long version, string segment = "s", bool entered = true, string cause = "m", MembershipReason reason = MembershipReason.Event, bool backfill = false)
    {
        int end = new SegmentMembership
        {
            ProfileId = (UInt128)profile,
            Segment = Encoding.UTF8.GetBytes(segment),
            SegmentVersion = "0123456789abcdef"u8,
            Change = entered ? MembershipChange.Entered : MembershipChange.Exited,
            At = Now(),
            Cause = Encoding.UTF8.GetBytes(cause),
            Version = version,
            Reason = reason,
            Backfill = backfill,
        }.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, (int)RecordType.SegmentMembership));
        _membershipWriter.Append(profile % _memberships.Partitions, Encoding.UTF8.GetBytes($"{IdText(profile)}:{segment}"), _buffer.AsSpan(0, end), Now());
        _memberships.Commit();
    }

    public void Profile(int profile, long version, string traits = "{}", int? mergedInto = null)
    {
        var writer = new ProfileWriter(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, (int)RecordType.Profile));
        writer.Head((UInt128)profile, version, Now(), Now(), 0, mergedInto is int into ? (UInt128)into : null);
        writer.Identifiers(mergedInto is null ? 1 : 0);
        if (mergedInto is null)
        {
            writer.Identifier("email"u8, Encoding.UTF8.GetBytes($"p{profile}@example.com"), Now(), Now(), "web"u8);
        }

        writer.Json(Encoding.UTF8.GetBytes(traits), default, default);
        writer.Segments(0);
        writer.Activity(Now(), Now(), 1);
        writer.MergedFrom(0);
        _profileWriter.Append(profile % _profiles.Partitions, Encoding.UTF8.GetBytes(IdText(profile)), _buffer.AsSpan(0, writer.End()), Now());
        _profiles.Commit();
    }

    /// <summary>A value of profiles that is no Avro.</summary>
    public void ProfileJson(int profile, string json)
    {
        _profileWriter.Append(profile % _profiles.Partitions, Encoding.UTF8.GetBytes(IdText(profile)), Encoding.UTF8.GetBytes(json), Now());
        _profiles.Commit();
    }

    public DeliveryParts Parts(int seed = 1) => new()
    {
        Memberships = _memberships,
        Profiles = _profiles,
        DeadLetters = _letters,
        Schemas = SchemaIds.BuiltIn,
        FindProfile = (id, _) => ValueTask.FromResult(Profiles.GetValueOrDefault(id)),
        StatePath = StatePath,
        Time = Time,
        Seed = seed,
        Metrics = Metrics,
        Logger = NullLogger.Instance,
    };

    public Delivery Delivery(IDestination destination, Func<DestinationSettings, DestinationSettings>? with = null, int seed = 1)
    {
        var settings = new DestinationSettings { Id = "hook", Kind = "test", RequestsPerSecond = 1e9 };
        return new Delivery(with?.Invoke(settings) ?? settings, destination, Parts(seed));
    }

    /// <summary>Sends all that the logs have, as a process that starts, works and stops.</summary>
    public async Task<DeliveryStatus> DrainAsync(IDestination destination, Func<DestinationSettings, DestinationSettings>? with = null, int seed = 1)
    {
        await using Delivery delivery = Delivery(destination, with, seed);
        await delivery.DrainAsync(TestContext.Current.CancellationToken);
        return delivery.Status();
    }

    /// <summary>All dead letters: where from, of whom, why, and the bytes.</summary>
    public IReadOnlyList<(string Origin, string Source, string Reason, string Detail, string Payload)> Letters()
    {
        var letters = new List<(string, string, string, string, string)>();
        using ILogReader reader = _letters.OpenReader(0, 0);
        while (reader.TryRead(out LogRecord record))
        {
            Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && DeadLetter.TryRead(body, out _));
            _ = DeadLetter.TryRead(body, out DeadLetter letter);
            letters.Add(($"{Text(letter.OriginLog)}:{letter.OriginPartition}:{letter.OriginOffset}", Text(letter.Source), Text(letter.Reason), Text(letter.Detail), Text(letter.Payload)));
        }

        return letters;

        static string Text(ReadOnlySpan<byte> utf8) => Encoding.UTF8.GetString(utf8);
    }

    public void Dispose() => Directory.Delete(StatePath, recursive: true);

    private long Now() => Time.GetUtcNow().ToUnixTimeMilliseconds();
}
