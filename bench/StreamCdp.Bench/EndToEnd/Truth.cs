using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>What must come out, or what did.</summary>
internal sealed class Truth
{
    /// <summary>Segments whose members do not hang on the time of the run.</summary>
    public static readonly string[] Segments = ["new_visitors", "mobile_buyers", "big_spenders", "vip", "reachable_bargain_hunters"];

    public long Applied { get; set; }

    public long Repeats { get; set; }

    public long Profiles { get; set; }

    public long Orders { get; set; }

    public long RevenueCents { get; set; }

    public Dictionary<string, long> Members { get; } = [];

    /// <summary>Reads the answer from the logs profiles and memberships, as any reader of them would.</summary>
    public static Truth Read(EngineLogs logs, long repeats)
    {
        var found = new Truth { Repeats = repeats };
        Dictionary<UInt128, (long Events, long Orders, long Cents)> profiles = [];
        HashSet<UInt128> merged = [];
        for (int shard = 0; shard < logs.Profiles.Partitions; shard++)
        {
            using var signal = new WorkSignal();
            using ILogReader reader = logs.Profiles.OpenReader(shard, 0, signal);
            while (TryRead(reader, signal, logs.Profiles.EndOffset(shard), out LogRecord record))
            {
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && Profile.TryRead(body, out Profile profile))
                {
                    if (profile.MergedInto is not null)
                    {
                        merged.Add(profile.Id);
                        profiles.Remove(profile.Id);
                    }
                    else
                    {
                        profiles[profile.Id] = (profile.Events, (long)Number(profile.Computed, "orders_90d"u8), (long)Math.Round(Number(profile.Computed, "revenue"u8) * 100));
                    }
                }
            }
        }

        found.Profiles = profiles.Count;
        found.Applied = profiles.Values.Sum(profile => profile.Events);
        found.Orders = profiles.Values.Sum(profile => profile.Orders);
        found.RevenueCents = profiles.Values.Sum(profile => profile.Cents);
        Dictionary<string, HashSet<UInt128>> members = [];
        foreach (string segment in Segments)
        {
            members[segment] = [];
        }

        for (int shard = 0; shard < logs.Memberships.Partitions; shard++)
        {
            using var signal = new WorkSignal();
            using ILogReader reader = logs.Memberships.OpenReader(shard, 0, signal);
            while (TryRead(reader, signal, logs.Memberships.EndOffset(shard), out LogRecord record))
            {
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && SegmentMembership.TryRead(body, out SegmentMembership change)
                    && members.TryGetValue(Encoding.UTF8.GetString(change.Segment), out HashSet<UInt128>? ids))
                {
                    _ = change.Change == MembershipChange.Entered ? ids.Add(change.ProfileId) : ids.Remove(change.ProfileId);
                }
            }
        }

        foreach ((string segment, HashSet<UInt128> ids) in members)
        {
            found.Members[segment] = ids.Count(id => !merged.Contains(id));
        }

        return found;
    }

    /// <summary>Every difference, as lines for people.</summary>
    public IEnumerable<string> Differences(Truth found)
    {
        foreach ((string name, long expected, long actual) in new[]
        {
            ("applied events", Applied, found.Applied),
            ("repeats", Repeats, found.Repeats),
            ("profiles", Profiles, found.Profiles),
            ("orders", Orders, found.Orders),
            ("revenue, cents", RevenueCents, found.RevenueCents),
        }.Concat(Members.Select(member => (member.Key, member.Value, found.Members[member.Key]))))
        {
            if (expected != actual)
            {
                yield return $"{name}: expected {expected}, found {actual}";
            }
        }
    }

    /// <summary>Prints whether an answer is right, with every difference.</summary>
    public bool PrintAnswer(Truth found, string title)
    {
        string[] differences = [.. Differences(found)];
        Console.WriteLine(differences.Length == 0
            ? $"{title}: right ({found.Profiles:N0} profiles, {found.Orders:N0} orders, {string.Join(", ", found.Members.Select(member => $"{member.Key} {member.Value:N0}"))})"
            : $"{title}: WRONG\n  {string.Join("\n  ", differences)}");
        return differences.Length == 0;
    }

    /// <summary>Reads on until the end, or until nothing came for ten seconds: over a network the next record may be on its way.</summary>
    private static bool TryRead(ILogReader reader, WorkSignal signal, long end, out LogRecord record)
    {
        for (int waits = 0; !reader.TryRead(out record); waits++)
        {
            if (reader.Position >= end || waits == 100)
            {
                return false;
            }

            signal.Wait(100);
        }

        return true;
    }

    private static double Number(ReadOnlySpan<byte> json, ReadOnlySpan<byte> name)
    {
        var reader = new Utf8JsonReader(json);
        while (reader.Read())
        {
            if (reader.TokenType == JsonTokenType.PropertyName && reader.CurrentDepth == 1 && reader.ValueTextEquals(name))
            {
                reader.Read();
                return reader.TokenType == JsonTokenType.Number ? reader.GetDouble() : 0;
            }
        }

        return 0;
    }
}
