using System.Text.Json;
using System.Text.Json.Serialization;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>Steps of counting history again, in a shard's log.</summary>
internal enum BackfillStep
{
    /// <summary>None.</summary>
    None,

    /// <summary>The shard knows the new states, and takes them over from other shards.</summary>
    Prepare,

    /// <summary>From here on the shard counts them. What stands before is counted from the log.</summary>
    Count,

    /// <summary>What stands before, for one profile.</summary>
    States,

    /// <summary>All is counted: the new rules are served.</summary>
    Finish,
}

/// <summary>What a backfill counts.</summary>
internal sealed record BackfillPlan
{
    /// <summary>Grows with each.</summary>
    public long Id { get; init; }

    /// <summary>The model that is served when it is done.</summary>
    public ulong ModelVersion { get; init; }

    /// <summary>States of that model, by <see cref="Segments.CompiledFunction.Shared"/>.</summary>
    public IReadOnlyList<string> States { get; init; } = [];

    /// <summary>Finish: nothing before this instant was there any more, Unix ms; 0: everything was.</summary>
    public long SinceMs { get; init; }

    /// <summary>As the log has it.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, BackfillJson.Default.BackfillPlan);

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="JsonException">It is none.</exception>
    public static BackfillPlan Parse(ReadOnlySpan<byte> json) => JsonSerializer.Deserialize(json, BackfillJson.Default.BackfillPlan) ?? throw new JsonException("This is no backfill.");
}

[JsonSerializable(typeof(BackfillPlan))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
internal sealed partial class BackfillJson : JsonSerializerContext;
