using System.Globalization;
using System.Text;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

/// <summary>Each record behind one face, because ref structs cannot be generic arguments of delegates: read and written again, and read into named values.</summary>
internal static class RecordCases
{
    /// <summary>Reads a body and writes what was read; false where it cannot be read. Allocates nothing while the buffer is large enough.</summary>
    public static bool TryRewrite(RecordType type, ReadOnlySpan<byte> body, ref byte[] buffer, int position, out int end)
    {
        end = position;
        switch (type)
        {
            case RecordType.CustomerEvent:
                if (!CustomerEvent.TryRead(body, out CustomerEvent recordCustomerEvent))
                {
                    return false;
                }

                end = recordCustomerEvent.WriteTo(ref buffer, position);
                return true;
            case RecordType.IdentityLink:
                if (!IdentityLink.TryRead(body, out IdentityLink recordIdentityLink))
                {
                    return false;
                }

                end = recordIdentityLink.WriteTo(ref buffer, position);
                return true;
            case RecordType.IdentityDecision:
                if (!IdentityDecision.TryRead(body, out IdentityDecision recordIdentityDecision))
                {
                    return false;
                }

                end = recordIdentityDecision.WriteTo(ref buffer, position);
                return true;
            case RecordType.ProfileEvent:
                if (!ProfileEvent.TryRead(body, out ProfileEvent recordProfileEvent))
                {
                    return false;
                }

                end = recordProfileEvent.WriteTo(ref buffer, position);
                return true;
            case RecordType.SegmentMembership:
                if (!SegmentMembership.TryRead(body, out SegmentMembership recordSegmentMembership))
                {
                    return false;
                }

                end = recordSegmentMembership.WriteTo(ref buffer, position);
                return true;
            case RecordType.DeadLetter:
                if (!DeadLetter.TryRead(body, out DeadLetter recordDeadLetter))
                {
                    return false;
                }

                end = recordDeadLetter.WriteTo(ref buffer, position);
                return true;
            case RecordType.ModelRecord:
                if (!ModelRecord.TryRead(body, out ModelRecord recordModelRecord))
                {
                    return false;
                }

                end = recordModelRecord.WriteTo(ref buffer, position);
                return true;
            case RecordType.Profile:
                if (!Profile.TryRead(body, out Profile profile))
                {
                    return false;
                }

                end = Rewrite(profile, ref buffer, position);
                return true;
            default:
                throw new ArgumentOutOfRangeException(nameof(type));
        }
    }

    /// <summary>Names as in the schema; bytes as byte[], text as string, nothing as null.</summary>
    public static Dictionary<string, object?> Values(RecordType type, ReadOnlySpan<byte> body)
    {
        switch (type)
        {
            case RecordType.CustomerEvent:
                Assert.True(CustomerEvent.TryRead(body, out CustomerEvent ofCustomerEvent));
                return new()
                {
                    ["message_id"] = Text(ofCustomerEvent.MessageId),
                    ["type"] = Text(ofCustomerEvent.Type),
                    ["source"] = Text(ofCustomerEvent.Source),
                    ["received_at"] = ofCustomerEvent.ReceivedAt,
                    ["sent_at"] = ofCustomerEvent.SentAt,
                    ["import"] = ofCustomerEvent.Import,
                    ["context"] = ofCustomerEvent.Context.IsEmpty ? null : ofCustomerEvent.Context.ToArray(),
                    ["payload"] = ofCustomerEvent.Payload.ToArray(),
                };
            case RecordType.IdentityLink:
                Assert.True(IdentityLink.TryRead(body, out IdentityLink ofIdentityLink));
                return new()
                {
                    ["kind"] = Symbol(ofIdentityLink.Kind),
                    ["origin_partition"] = ofIdentityLink.OriginPartition,
                    ["origin_offset"] = ofIdentityLink.OriginOffset,
                    ["message_id"] = Text(ofIdentityLink.MessageId),
                    ["source"] = Text(ofIdentityLink.Source),
                    ["trusted"] = ofIdentityLink.Trusted,
                    ["now"] = ofIdentityLink.Now,
                    ["event_time"] = ofIdentityLink.EventTime,
                    ["model_version"] = ofIdentityLink.ModelVersion,
                    ["alias_previous_id"] = OptionalText(ofIdentityLink.AliasPreviousId),
                    ["identifiers"] = Pairs(ofIdentityLink.Identifiers),
                    ["alias_previous_user_id"] = OptionalText(ofIdentityLink.AliasPreviousUserId),
                };
            case RecordType.IdentityDecision:
                Assert.True(IdentityDecision.TryRead(body, out IdentityDecision ofIdentityDecision));
                return new()
                {
                    ["kind"] = Symbol(ofIdentityDecision.Kind),
                    ["type"] = Text(ofIdentityDecision.Type),
                    ["value"] = Text(ofIdentityDecision.Value),
                    ["profile_id"] = Bytes(ofIdentityDecision.ProfileId),
                    ["epoch"] = ofIdentityDecision.Epoch,
                    ["link_offset"] = ofIdentityDecision.LinkOffset,
                    ["position"] = ofIdentityDecision.Position,
                    ["origin_partition"] = ofIdentityDecision.OriginPartition,
                    ["origin_offset"] = ofIdentityDecision.OriginOffset,
                    ["merged"] = ofIdentityDecision.Merged,
                    ["requires_link"] = ofIdentityDecision.RequiresLink,
                    ["kept"] = ofIdentityDecision.Kept,
                    ["alias_is_user"] = ofIdentityDecision.AliasIsUser,
                    ["kept_more"] = ofIdentityDecision.KeptMore.IsEmpty ? null : ofIdentityDecision.KeptMore.ToArray(),
                    ["capped"] = ofIdentityDecision.Capped,
                };
            case RecordType.ProfileEvent:
                Assert.True(ProfileEvent.TryRead(body, out ProfileEvent ofProfileEvent));
                return new()
                {
                    ["kind"] = Symbol(ofProfileEvent.Kind),
                    ["profile_id"] = Bytes(ofProfileEvent.ProfileId),
                    ["origin_partition"] = ofProfileEvent.OriginPartition,
                    ["origin_offset"] = ofProfileEvent.OriginOffset,
                    ["generation"] = ofProfileEvent.Generation,
                    ["link_offset"] = ofProfileEvent.LinkOffset,
                    ["event_type"] = ofProfileEvent.EventType,
                    ["merged"] = ofProfileEvent.Merged,
                    ["now"] = ofProfileEvent.Now,
                    ["event_time"] = ofProfileEvent.EventTime,
                    ["received_at"] = ofProfileEvent.ReceivedAt,
                    ["requires_link"] = ofProfileEvent.RequiresLink,
                    ["into"] = Bytes(ofProfileEvent.Into),
                    ["source_shard"] = ofProfileEvent.SourceShard,
                    ["source_offset"] = ofProfileEvent.SourceOffset,
                    ["source"] = Text(ofProfileEvent.Source),
                    ["message_id"] = Text(ofProfileEvent.MessageId),
                    ["identifiers"] = Pairs(ofProfileEvent.Identifiers),
                    ["context"] = ofProfileEvent.Context.ToArray(),
                    ["payload"] = ofProfileEvent.Payload.ToArray(),
                };
            case RecordType.SegmentMembership:
                Assert.True(SegmentMembership.TryRead(body, out SegmentMembership ofSegmentMembership));
                return new()
                {
                    ["profile_id"] = Text(ofSegmentMembership.ProfileId),
                    ["segment"] = Text(ofSegmentMembership.Segment),
                    ["segment_version"] = Text(ofSegmentMembership.SegmentVersion),
                    ["change"] = Symbol(ofSegmentMembership.Change),
                    ["at"] = ofSegmentMembership.At,
                    ["cause"] = OptionalText(ofSegmentMembership.Cause),
                    ["reason"] = Symbol(ofSegmentMembership.Reason),
                    ["source_ts"] = ofSegmentMembership.SourceTs,
                    ["source_offset"] = ofSegmentMembership.SourceOffset,
                    ["version"] = ofSegmentMembership.Version,
                    ["backfill"] = ofSegmentMembership.Backfill,
                };
            case RecordType.DeadLetter:
                Assert.True(DeadLetter.TryRead(body, out DeadLetter ofDeadLetter));
                return new()
                {
                    ["origin_log"] = Text(ofDeadLetter.OriginLog),
                    ["origin_partition"] = ofDeadLetter.OriginPartition,
                    ["origin_offset"] = ofDeadLetter.OriginOffset,
                    ["source"] = Text(ofDeadLetter.Source),
                    ["at"] = ofDeadLetter.At,
                    ["reason"] = Text(ofDeadLetter.Reason),
                    ["field"] = Text(ofDeadLetter.Field),
                    ["detail"] = Text(ofDeadLetter.Detail),
                    ["payload"] = ofDeadLetter.Payload.ToArray(),
                    ["context"] = ofDeadLetter.Context.IsEmpty ? null : ofDeadLetter.Context.ToArray(),
                    ["received_at"] = ofDeadLetter.ReceivedAt,
                    ["sent_at"] = ofDeadLetter.SentAt,
                    ["import"] = ofDeadLetter.Import,
                    ["event_type"] = Text(ofDeadLetter.EventType),
                };
            case RecordType.ModelRecord:
                Assert.True(ModelRecord.TryRead(body, out ModelRecord ofModelRecord));
                return new()
                {
                    ["version"] = Text(ofModelRecord.Version),
                    ["text"] = Text(ofModelRecord.Text),
                    ["at"] = ofModelRecord.At,
                };
            case RecordType.Profile:
                Assert.True(Profile.TryRead(body, out Profile profile));
                return ProfileValues(profile);
            default:
                throw new ArgumentOutOfRangeException(nameof(type));
        }
    }

    private static int Rewrite(Profile profile, ref byte[] buffer, int position)
    {
        var writer = new ProfileWriter(ref buffer, position);
        writer.Head(profile.Id, profile.Version, profile.CreatedAt, profile.UpdatedAt, profile.SourceOffset, profile.MergedInto);
        writer.Identifiers(profile.Identifiers.Count);
        foreach (ProfileIdentifier identifier in profile.Identifiers)
        {
            writer.Identifier(identifier.Type, identifier.Value, identifier.FirstSeen, identifier.LastSeen, identifier.Source);
        }

        writer.Json(profile.Traits, profile.Provenance, profile.Computed);
        writer.Segments(profile.Segments.Count);
        foreach (ProfileSegment segment in profile.Segments)
        {
            writer.Segment(segment.Id, segment.Since);
        }

        writer.Activity(profile.FirstSeen, profile.LastSeen, profile.Events);
        writer.MergedFrom(profile.MergedFrom.Count);
        foreach (ProfileReference merged in profile.MergedFrom)
        {
            writer.MergedProfile(merged.Id);
        }

        writer.Crm(profile.Crm);
        return writer.End();
    }

    private static Dictionary<string, object?> ProfileValues(Profile profile)
    {
        var identifiers = new List<object?>();
        foreach (ProfileIdentifier identifier in profile.Identifiers)
        {
            identifiers.Add(new Dictionary<string, object?>
            {
                ["type"] = Text(identifier.Type),
                ["value"] = Text(identifier.Value),
                ["first_seen"] = identifier.FirstSeen,
                ["last_seen"] = identifier.LastSeen,
                ["source"] = Text(identifier.Source),
            });
        }

        var segments = new List<object?>();
        foreach (ProfileSegment segment in profile.Segments)
        {
            segments.Add(new Dictionary<string, object?> { ["id"] = Text(segment.Id), ["since"] = segment.Since });
        }

        var mergedFrom = new List<object?>();
        foreach (ProfileReference merged in profile.MergedFrom)
        {
            mergedFrom.Add(Text(merged.Id));
        }

        return new()
        {
            ["id"] = Text(profile.Id),
            ["version"] = profile.Version,
            ["created_at"] = profile.CreatedAt,
            ["updated_at"] = profile.UpdatedAt,
            ["source_offset"] = profile.SourceOffset,
            ["merged_into"] = profile.MergedInto is { } into ? Text(into) : null,
            ["identifiers"] = identifiers,
            ["traits"] = Text(profile.Traits),
            ["provenance"] = Text(profile.Provenance),
            ["computed"] = Text(profile.Computed),
            ["segments"] = segments,
            ["activity"] = new Dictionary<string, object?>
            {
                ["first_seen"] = profile.FirstSeen,
                ["last_seen"] = profile.LastSeen,
                ["events"] = profile.Events,
            },
            ["merged_from"] = mergedFrom,
            ["crm"] = Text(profile.Crm),
        };
    }

    private static List<object?> Pairs(AvroList<Identifier> identifiers)
    {
        var pairs = new List<object?>();
        foreach (Identifier identifier in identifiers)
        {
            pairs.Add(new Dictionary<string, object?> { ["type"] = Text(identifier.Type), ["value"] = Text(identifier.Value) });
        }

        Assert.Equal(pairs.Count, identifiers.Count);
        return pairs;
    }

    private static string Text(ReadOnlySpan<byte> utf8) => Encoding.UTF8.GetString(utf8);

    private static string? OptionalText(ReadOnlySpan<byte> utf8) => utf8.IsEmpty ? null : Text(utf8);

    private static string Text(UInt128 id) => id.ToString("x32", CultureInfo.InvariantCulture);

    private static byte[] Bytes(UInt128 id) => Convert.FromHexString(Text(id));

    private static string Symbol(Enum value) => value.ToString().ToLowerInvariant();
}
