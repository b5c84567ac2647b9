using System.Buffers;
using System.Text;
using System.Text.Json;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

public sealed class JsonFormatTests
{
    private static readonly UInt128 _id = new(0x0011223344556677, 0x8899aabbccddeeff);

    [Fact]
    public void A_profile_has_real_objects_and_the_names_of_its_schema()
    {
        var bytes = new ArrayBufferWriter<byte>();
        using var json = new Utf8JsonWriter(bytes);
        WriteProfile(json, Profile("""{"plan":"pro","address":{"city":"Köln"}}"""u8));

        Assert.Equal(
            """{"id":"00112233445566778899aabbccddeeff","version":17,"created_at":"2026-11-24T03:00:00.000Z","updated_at":"2026-11-24T03:00:00.001Z","source_offset":99,"merged_into":null"""
            + ""","identifiers":[{"type":"email","value":"a@b.c","first_seen":"1970-01-01T00:00:00.000Z","last_seen":null,"source":"web"}]"""
            + ""","traits":{"plan":"pro","address":{"city":"Köln"}},"provenance":{},"computed":{"orders_90d":3}"""
            + ""","segments":[{"id":"big_spenders","since":"2026-11-24T03:00:00.000Z"}],"crm":{"deals":[{"id":"12","source":"hubspot"}]},"activity":{"first_seen":"1970-01-01T00:00:00.000Z","last_seen":"1970-01-01T00:00:00.001Z","events":120}"""
            + ""","merged_from":["00000000000000000000000000000001"]}""",
            Encoding.UTF8.GetString(bytes.WrittenSpan));
    }

    [Theory]
    [InlineData(MembershipReason.Event, "event")]
    [InlineData(MembershipReason.Merge, "merge")]
    [InlineData(MembershipReason.Time, "time")]
    [InlineData(MembershipReason.Edit, "edit")]
    [InlineData(MembershipReason.Backfill, "backfill")]
    public void A_membership_has_the_names_of_its_schema(MembershipReason reason, string name)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using var json = new Utf8JsonWriter(bytes);
        var membership = new SegmentMembership
        {
            ProfileId = _id,
            Segment = "big_spenders"u8,
            SegmentVersion = "0123456789abcdef"u8,
            Change = MembershipChange.Exited,
            At = 1_795_489_200_000,
            Cause = reason == MembershipReason.Event ? "m-1"u8 : default,
            Reason = reason,
            SourceTs = 5,
            SourceOffset = 6,
            Version = 7,
        };
        JsonFormat.WriteMembership(json, membership);
        json.Flush();

        Assert.Equal(
            """{"profile_id":"00112233445566778899aabbccddeeff","segment":"big_spenders","segment_version":"0123456789abcdef","change":"exited","at":"2026-11-24T03:00:00.000Z","""
            + $"\"cause\":{(reason == MembershipReason.Event ? "\"m-1\"" : "null")},\"reason\":\"{name}\",\"source_ts\":5,\"source_offset\":6,\"version\":7,\"backfill\":false}}",
            Encoding.UTF8.GetString(bytes.WrittenSpan));
    }

    [Fact]
    public void Text_that_is_no_UTF8_still_gives_JSON()
    {
        var bytes = new ArrayBufferWriter<byte>();
        using var json = new Utf8JsonWriter(bytes);
        JsonFormat.WriteMembership(json, new SegmentMembership { Segment = [0xFF, (byte)'a', 0xED, 0xA0, 0x80] });
        json.Flush();

        using var read = JsonDocument.Parse(bytes.WrittenMemory);
        Assert.StartsWith("\uFFFDa", read.RootElement.GetProperty("segment").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Writing_with_one_writer_allocates_nothing()
    {
        byte[] body = Profile("{}"u8);
        var bytes = new ArrayBufferWriter<byte>(4096);
        using var json = new Utf8JsonWriter(bytes);

        Assert.Equal(0, Allocation.Of(1_000, () =>
        {
            bytes.ResetWrittenCount();
            json.Reset();
            WriteProfile(json, body);
        }));
    }

    private static void WriteProfile(Utf8JsonWriter json, ReadOnlySpan<byte> body)
    {
        if (!StreamCdp.Schemas.Profile.TryRead(body, out Profile profile))
        {
            throw new InvalidOperationException("The test's own record cannot be read.");
        }

        JsonFormat.WriteProfile(json, profile);
        json.Flush();
    }

    private static byte[] Profile(ReadOnlySpan<byte> traits)
    {
        byte[] buffer = [];
        var writer = new ProfileWriter(ref buffer, 0);
        writer.Head(_id, version: 17, createdAt: 1_795_489_200_000, updatedAt: 1_795_489_200_001, sourceOffset: 99, mergedInto: null);
        writer.Identifiers(1);
        writer.Identifier("email"u8, "a@b.c"u8, firstSeen: 0, lastSeen: long.MaxValue, "web"u8);
        writer.Json(traits, provenance: default, """{"orders_90d":3}"""u8);
        writer.Segments(1);
        writer.Segment("big_spenders"u8, since: 1_795_489_200_000);
        writer.Activity(firstSeen: 0, lastSeen: 1, events: 120);
        writer.MergedFrom(1);
        writer.MergedProfile(UInt128.One);
        writer.Crm("""{"deals":[{"id":"12","source":"hubspot"}]}"""u8);
        return buffer[..writer.End()];
    }
}
