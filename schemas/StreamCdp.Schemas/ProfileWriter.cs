using System.Diagnostics;

namespace StreamCdp.Schemas;

/// <summary>Writes the Avro body of a <see cref="Profile"/> piece by piece, in the order of the methods here; each array's count is said before its items.</summary>
/// <remarks>Cost: no allocation once the buffer is large enough. A call out of order is a bug that debug builds catch; release builds would write a broken record.</remarks>
/// <example><code>
/// var writer = new ProfileWriter(ref buffer, position);
/// writer.Head(id, version, createdAt, updatedAt, sourceOffset, mergedInto: null);
/// writer.Identifiers(1);
/// writer.Identifier("email"u8, "a@b.c"u8, firstSeen, lastSeen, "web"u8);
/// writer.Json(traits, provenance, computed);
/// writer.Segments(0);
/// writer.Activity(firstSeen, lastSeen, events);
/// writer.MergedFrom(0);
/// writer.Crm(crm);
/// int end = writer.End();
/// </code></example>
/// <param name="buffer">Replaced by a larger copy where it is too small.</param>
/// <param name="position">Where to begin; the bytes before it are kept, those behind it are not.</param>
public ref struct ProfileWriter(ref byte[] buffer, int position)
{
    private AvroWriter _writer = new(ref buffer, position);
    private Part _next;
    private int _left;

    private enum Part
    {
        Head,
        Identifiers,
        Json,
        Segments,
        Activity,
        MergedFrom,
        Crm,
        Done,
    }

    /// <summary>First: who it is. Times in Unix ms.</summary>
    /// <param name="id">Canonical id.</param>
    /// <param name="version">Only grows.</param>
    /// <param name="createdAt">Earliest event time.</param>
    /// <param name="updatedAt">The instant of the last change.</param>
    /// <param name="sourceOffset">Offset in the shard's log of the last record applied.</param>
    /// <param name="mergedInto">The survivor, for a redirect; the parts that follow are then written empty.</param>
    public void Head(UInt128 id, long version, long createdAt, long updatedAt, long sourceOffset, UInt128? mergedInto)
    {
        Go(Part.Head);
        _writer.WriteTextId(id);
        _writer.WriteLong(version);
        _writer.WriteLong(createdAt);
        _writer.WriteLong(updatedAt);
        _writer.WriteLong(sourceOffset);
        _writer.WriteOptionalTextId(mergedInto);
    }

    /// <summary>Says how many identifiers follow.</summary>
    public void Identifiers(int count)
    {
        Go(Part.Identifiers);
        BeginArray(count);
    }

    /// <summary>One identifier; text in UTF-8, times in Unix ms.</summary>
    public void Identifier(scoped ReadOnlySpan<byte> type, scoped ReadOnlySpan<byte> value, long firstSeen, long lastSeen, scoped ReadOnlySpan<byte> source)
    {
        Debug.Assert(_next == Part.Json && _left > 0, "No identifier is due here.");
        _writer.WriteBytes(type);
        _writer.WriteBytes(value);
        _writer.WriteLong(firstSeen);
        _writer.WriteLong(lastSeen);
        _writer.WriteBytes(source);
        EndItem();
    }

    /// <summary>The JSON objects; an empty span is written as <c>{}</c>.</summary>
    /// <param name="traits">Sent traits.</param>
    /// <param name="provenance">For each trait <c>{"source", "at"}</c>.</param>
    /// <param name="computed">Computed traits.</param>
    public void Json(scoped ReadOnlySpan<byte> traits, scoped ReadOnlySpan<byte> provenance, scoped ReadOnlySpan<byte> computed)
    {
        Go(Part.Json);
        _writer.WriteBytes(traits.IsEmpty ? "{}"u8 : traits);
        _writer.WriteBytes(provenance.IsEmpty ? "{}"u8 : provenance);
        _writer.WriteBytes(computed.IsEmpty ? "{}"u8 : computed);
    }

    /// <summary>Says how many memberships follow.</summary>
    public void Segments(int count)
    {
        Go(Part.Segments);
        BeginArray(count);
    }

    /// <summary>One membership.</summary>
    /// <param name="id">Id of the segment, UTF-8.</param>
    /// <param name="since">Unix ms.</param>
    public void Segment(scoped ReadOnlySpan<byte> id, long since)
    {
        Debug.Assert(_next == Part.Activity && _left > 0, "No membership is due here.");
        _writer.WriteBytes(id);
        _writer.WriteLong(since);
        EndItem();
    }

    /// <summary>Activity over all events; times in Unix ms.</summary>
    public void Activity(long firstSeen, long lastSeen, long events)
    {
        Go(Part.Activity);
        _writer.WriteLong(firstSeen);
        _writer.WriteLong(lastSeen);
        _writer.WriteLong(events);
    }

    /// <summary>Says how many merged profiles follow.</summary>
    public void MergedFrom(int count)
    {
        Go(Part.MergedFrom);
        BeginArray(count);
    }

    /// <summary>One profile that this one took over; oldest first.</summary>
    public void MergedProfile(UInt128 id)
    {
        Debug.Assert(_next == Part.Crm && _left > 0, "No merged profile is due here.");
        _writer.WriteTextId(id);
        EndItem();
    }

    /// <summary>The CRM records, a JSON object; an empty span is written as <c>{}</c>, and so is one that is not said.</summary>
    public void Crm(scoped ReadOnlySpan<byte> crm)
    {
        Go(Part.Crm);
        _writer.WriteBytes(crm.IsEmpty ? "{}"u8 : crm);
    }

    /// <summary>Last.</summary>
    /// <returns>The position behind the last byte.</returns>
    public int End()
    {
        if (_next == Part.Crm)
        {
            Crm(default);
        }

        Debug.Assert(_next == Part.Done && _left == 0, "A part of the profile is missing.");
        return _writer.Position;
    }

    private void Go(Part part)
    {
        Debug.Assert(_next == part && _left == 0, "The parts of a profile come in their order, arrays with as many items as were said.");
        _next = part + 1;
    }

    private void BeginArray(int count)
    {
        _writer.WriteLong(count);
        if (count > 0)
        {
            _left = count;
        }
    }

    private void EndItem()
    {
        if (--_left == 0)
        {
            _writer.WriteLong(0);
        }
    }
}
