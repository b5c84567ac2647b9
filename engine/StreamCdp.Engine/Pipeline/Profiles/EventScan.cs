using System.Text.Json;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>Finds in an event's JSON, in one pass, all that a model asks for. Not safe for several threads.</summary>
internal sealed class EventScan
{
    private const int TraitsSlot = 0;
    private const int ContextTraitsSlot = 1;
    private const int ContextSlot = 2;
    private const int EventSlot = 3;
    private const int NameSlot = 4;

    private readonly int _first;
    private readonly JsonPathScanner _scanner;
    private readonly JsonPathScanner _contextScanner;
    private readonly int[] _contextSlotOf;
    private readonly JsonSlice[] _slots;
    private readonly JsonSlice[] _contextSlots;
    private byte[] _name = new byte[256];

    /// <param name="paths">Of the functions; their slots begin at 0.</param>
    /// <param name="traitPaths">Of declared traits; their slots begin at <see cref="FirstTraitSlot"/>.</param>
    public EventScan(IReadOnlyList<IReadOnlyList<string>> paths, IReadOnlyList<IReadOnlyList<string>> traitPaths)
    {
        _first = paths.Count;
        List<IReadOnlyList<string>> all = [.. paths, ["traits"], ["context", "traits"], ["context"], ["event"], ["name"], .. traitPaths];
        _scanner = new JsonPathScanner(all);
        _slots = new JsonSlice[all.Count];
        _contextSlotOf = [.. Enumerable.Range(0, all.Count).Where(i => all[i].Count > 1 && all[i][0] == "context")];
        _contextScanner = new JsonPathScanner([.. _contextSlotOf.Select(i => (IReadOnlyList<string>)[.. all[i].Skip(1)])]);
        _contextSlots = new JsonSlice[_contextSlotOf.Length];
    }

    /// <summary>The context came with the batch.</summary>
    public bool IsOfBatch { get; private set; }

    /// <summary>The event's traits.</summary>
    public JsonSlice Traits => _slots[_first + TraitsSlot];

    /// <summary>The traits of the context, in <see cref="EventView.ContextPayload"/>.</summary>
    public JsonSlice ContextTraits => _slots[_first + ContextTraitsSlot];

    /// <summary>The event's own context.</summary>
    public JsonSlice Context => _slots[_first + ContextSlot];

    /// <summary>Slot of the first path of a trait.</summary>
    /// <param name="paths">Number of paths of the functions.</param>
    public static int FirstTraitSlot(int paths) => paths + NameSlot + 1;

    /// <summary>Scans an event; the view is good until the next call.</summary>
    public EventView Read(in ProfileEvent e)
    {
        _scanner.ScanAccepted(e.Payload, _slots); // The router passes on only what a scanner has accepted.
        ReadOnlySpan<byte> context = e.Payload;
        IsOfBatch = false;
        if (!e.Context.IsEmpty && Context.Kind == JsonTokenType.None && _contextScanner.Scan(e.Context, _contextSlots))
        {
            // The batch's context stands in for the event's own.
            context = e.Context;
            IsOfBatch = true;
            for (int i = 0; i < _contextSlotOf.Length; i++)
            {
                _slots[_contextSlotOf[i]] = _contextSlots[i];
            }
        }

        var type = (EventType)e.EventType;
        JsonSlice name = type == EventType.Track ? _slots[_first + EventSlot] : type is EventType.Page or EventType.Screen ? _slots[_first + NameSlot] : default;
        return new EventView
        {
            Payload = e.Payload,
            ContextPayload = context,
            Slots = _slots,
            Type = type,
            Name = Text(e.Payload, name),
            Order = new EventOrder(e.EventTime, e.OriginOffset, e.OriginPartition),
        };
    }

    private ReadOnlySpan<byte> Text(ReadOnlySpan<byte> json, JsonSlice slice)
    {
        if (slice.Kind != JsonTokenType.String)
        {
            return default;
        }

        ReadOnlySpan<byte> text = slice.In(json);
        return slice.IsEscaped ? Segments.JsonText.Unescape(text, ref _name) : text;
    }
}
