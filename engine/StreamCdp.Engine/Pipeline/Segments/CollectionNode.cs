using System.Text.Json;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>What a function of a collection gives.</summary>
internal enum CollectionFunction
{
    /// <summary>Number of records.</summary>
    Count,

    /// <summary>Exact sum of a field.</summary>
    Sum,

    /// <summary>There is a record.</summary>
    Exists,
}

/// <summary>A function over the CRM records of a profile. One node for each different function, its value is computed once in an evaluation.</summary>
/// <remarks>Cost: nothing for a profile without records of the collection; else one walk over the fields of each.</remarks>
/// <param name="function">Which.</param>
/// <param name="type">Whose records.</param>
/// <param name="scanner">Finds the fields that <paramref name="where"/> and <paramref name="field"/> use.</param>
/// <param name="field">Of sum, a value of the record; else null.</param>
/// <param name="where">Over the record alone; null: every record counts.</param>
/// <param name="dates">Nodes of <paramref name="where"/> that now changes.</param>
internal sealed class CollectionNode(CollectionFunction function, CrmObject type, JsonPathScanner scanner, IRecordValue? field, Node? where, IDateNode[] dates) : Node, IDateNode
{
    private readonly JsonSlice[] _slots = new JsonSlice[scanner.SlotCount];
    private byte[] _buffer = [];
    private long _stamp;
    private long _count;
    private Int128 _units;

    /// <summary>Time alone can change its value.</summary>
    public bool HasDates => dates.Length > 0;

    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context)
    {
        Refresh(ref context);
        return function switch
        {
            CollectionFunction.Exists => Value.Of(_count > 0),
            CollectionFunction.Count => Value.Of(_count),
            _ => Value.Of(ExactNumber.ToDouble(_units)),
        };
    }

    /// <inheritdoc/>
    public override void WriteTo(Utf8JsonWriter writer, scoped ref EvaluationContext context)
    {
        if (function != CollectionFunction.Sum)
        {
            base.WriteTo(writer, ref context);
            return;
        }

        Refresh(ref context);
        Span<byte> text = stackalloc byte[ExactNumber.MaxTextBytes];
        writer.WriteRawValue(text[..ExactNumber.Format(_units, text)], skipInputValidation: true);
    }

    /// <inheritdoc/>
    public long NextChange(scoped ref EvaluationContext context)
    {
        long next = long.MaxValue;
        foreach (ref readonly CrmEntry entry in context.Profile!.CrmOf(type))
        {
            if (entry.Fields.Length > 0)
            {
                EvaluationContext record = Open(ref context, entry);
                foreach (IDateNode date in dates)
                {
                    next = Math.Min(next, date.NextChange(ref record));
                }
            }
        }

        return next;
    }

    private void Refresh(scoped ref EvaluationContext context)
    {
        if (_stamp == context.Stamp)
        {
            return;
        }

        _stamp = context.Stamp;
        _count = 0;
        _units = 0;
        foreach (ref readonly CrmEntry entry in context.Profile!.CrmOf(type))
        {
            if (entry.Fields.Length == 0)
            {
                continue;
            }

            if (where is null && field is null)
            {
                _count++;
                continue;
            }

            EvaluationContext record = Open(ref context, entry);
            if (where is not null && !where.Test(ref record))
            {
                continue;
            }

            _count++;
            if (function == CollectionFunction.Exists)
            {
                return;
            }

            if (field is not null && field.TryGetNumberText(ref record, ref _buffer, out ReadOnlySpan<byte> number) && ExactNumber.TryParse(number, out Int128 units))
            {
                _units += units;
            }
        }
    }

    /// <summary>The same instant, over one record.</summary>
    private EvaluationContext Open(scoped ref EvaluationContext context, in CrmEntry entry)
    {
        ProfileState profile = context.Profile!;
        ReadOnlySpan<byte> fields = profile.Bytes(entry.Fields);
        scanner.ScanAccepted(fields, _slots);
        return new EvaluationContext
        {
            NowMs = context.NowMs,
            Event = new EventView { Payload = fields, Slots = _slots },
            RecordSource = profile.Bytes(entry.Source),
            RecordId = profile.Bytes(entry.Id),
        };
    }
}

/// <summary>A value of a CRM record of which the text of a number is wanted: a double would lose digits.</summary>
internal interface IRecordValue
{
    /// <summary>The text of a JSON number, or text that is one (RULES.md §6.1).</summary>
    /// <param name="context">Over a record.</param>
    /// <param name="buffer">For unescaped text; grows.</param>
    /// <param name="number">Valid until the buffer is used again.</param>
    bool TryGetNumberText(scoped ref EvaluationContext context, ref byte[] buffer, out ReadOnlySpan<byte> number);
}

/// <summary>A field of a CRM record.</summary>
internal sealed class RecordField(int slot) : IRecordValue
{
    /// <inheritdoc/>
    public bool TryGetNumberText(scoped ref EvaluationContext context, ref byte[] buffer, out ReadOnlySpan<byte> number)
    {
        JsonSlice slice = context.Event.Slots[slot];
        number = default;
        if (slice.Kind is not (JsonTokenType.Number or JsonTokenType.String))
        {
            return false;
        }

        ReadOnlySpan<byte> text = slice.In(context.Event.Payload);
        number = slice.IsEscaped ? JsonText.Unescape(text, ref buffer) : text;
        return slice.Kind == JsonTokenType.Number || ExactNumber.IsJsonNumber(number);
    }
}

/// <summary><c>source</c> and <c>id</c> in a collection.</summary>
internal sealed class RecordKeyNode(bool isId) : Node, IRecordValue
{
    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context) => Value.Of(isId ? context.RecordId : context.RecordSource);

    /// <inheritdoc/>
    public bool TryGetNumberText(scoped ref EvaluationContext context, ref byte[] buffer, out ReadOnlySpan<byte> number)
    {
        number = isId ? context.RecordId : context.RecordSource;
        return ExactNumber.IsJsonNumber(number);
    }
}
