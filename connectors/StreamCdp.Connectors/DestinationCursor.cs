using System.Text.Json;
using System.Text.Json.Serialization;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Connectors;

/// <summary>How far a destination is in each log, and whether somebody paused it: all that must survive a restart.</summary>
/// <param name="Memberships">Next offset by partition.</param>
/// <param name="Profiles">Next offset by partition.</param>
/// <param name="Paused">Why it is paused; null: it is not.</param>
internal sealed record DestinationCursor(IReadOnlyList<long> Memberships, IReadOnlyList<long> Profiles, string? Paused)
{
    /// <summary>Batches that were sent, ever: a plan that was made before another one is no longer true.</summary>
    public long Sent { get; init; }

    /// <summary>It sends up to here, although it is paused, and is paused then: a plan is applied. Null: none is.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public LogPositions? Until { get; init; }

    /// <summary>Where a new destination begins: with everybody who is a member already.</summary>
    public static DestinationCursor Start { get; } = new([], [], null);

    /// <summary>Where one begins that gets only what comes from now on.</summary>
    public static DestinationCursor End(ILog memberships, ILog profiles) =>
        new([.. Enumerable.Range(0, memberships.Partitions).Select(memberships.EndOffset)], [.. Enumerable.Range(0, profiles.Partitions).Select(profiles.EndOffset)], null);

    /// <summary>The next offset; 0 for a partition that was not known.</summary>
    public static long At(IReadOnlyList<long> offsets, int partition) => partition < offsets.Count ? offsets[partition] : 0;
}

/// <summary>A place in each log that a destination reads: the next offset by partition.</summary>
/// <param name="Memberships">Empty: it does not read them.</param>
/// <param name="Profiles">Merges stand there, so all read them.</param>
internal sealed record LogPositions(IReadOnlyList<long> Memberships, IReadOnlyList<long> Profiles)
{
    /// <summary>Nothing before these places is left to be sent by one that has come to a cursor.</summary>
    public bool IsReached(DestinationCursor cursor) => IsReached(Memberships, cursor.Memberships) && IsReached(Profiles, cursor.Profiles);

    private static bool IsReached(IReadOnlyList<long> ends, IReadOnlyList<long> offsets)
    {
        for (int partition = 0; partition < ends.Count; partition++)
        {
            if (DestinationCursor.At(offsets, partition) < ends[partition])
            {
                return false;
            }
        }

        return true;
    }
}

/// <summary>Where a destination's cursor is kept.</summary>
/// <param name="directory">Made where it is missing.</param>
/// <param name="destinationId">A name of the model: safe in a path.</param>
internal sealed class DestinationCursorFile(string directory, string destinationId)
{
    private readonly string _path = Path.Combine(directory, "destination-" + destinationId + ".json");

    /// <summary>It has one: the destination began before.</summary>
    public bool Exists => File.Exists(_path);

    /// <summary>The saved cursor, or the start.</summary>
    /// <exception cref="InvalidDataException">The file is damaged; the message says what to do.</exception>
    public DestinationCursor Load()
    {
        if (!File.Exists(_path))
        {
            return DestinationCursor.Start;
        }

        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(_path), CursorJson.Default.DestinationCursor) is { Memberships: not null, Profiles: not null } cursor ? cursor : throw Damaged(null);
        }
        catch (JsonException exception)
        {
            throw Damaged(exception);
        }
    }

    /// <summary>Replaces the file, durably: a crash leaves the old or the new one.</summary>
    public void Save(DestinationCursor cursor)
    {
        Directory.CreateDirectory(directory);
        LocalFiles.WriteWhole(_path, JsonSerializer.SerializeToUtf8Bytes(cursor, CursorJson.Default.DestinationCursor));
    }

    private InvalidDataException Damaged(JsonException? inner) =>
        new($"{_path} is not as it was written, so it is not known how far destination {destinationId} is. Put back a copy, or delete the file: then everything that the logs keep is sent again.", inner);
}

[JsonSerializable(typeof(DestinationCursor))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
internal sealed partial class CursorJson : JsonSerializerContext;
