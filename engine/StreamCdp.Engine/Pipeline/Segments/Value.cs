using System.Buffers.Text;
using System.Diagnostics;
using System.Text.Json;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>What an expression's value is.</summary>
internal enum ValueKind : byte
{
    /// <summary>null, or missing.</summary>
    Null,

    /// <summary>true or false.</summary>
    Boolean,

    /// <summary>A double.</summary>
    Number,

    /// <summary>UTF-8 text, unescaped.</summary>
    Text,

    /// <summary><c>now</c>.</summary>
    Instant,

    /// <summary>A JSON array, a list of literals or the values of an identifier type.</summary>
    List,

    /// <summary>A JSON object.</summary>
    Object,
}

/// <summary>A literal.</summary>
/// <param name="Kind">Null, Boolean, Number or Text.</param>
/// <param name="Number">The number; 1 for true.</param>
/// <param name="Text">UTF-8.</param>
internal sealed record Constant(ValueKind Kind, double Number, byte[] Text)
{
    /// <summary>From the value of a literal of the model.</summary>
    public static Constant Of(object? literal) => literal switch
    {
        null => new(ValueKind.Null, 0, []),
        bool value => new(ValueKind.Boolean, value ? 1 : 0, []),
        double value => new(ValueKind.Number, value, []),
        string value => new(ValueKind.Text, 0, System.Text.Encoding.UTF8.GetBytes(value)),
        _ => throw new ArgumentException($"A literal is a {literal.GetType().Name}; allowed are null, true, false, double and string.", nameof(literal)),
    };

    /// <summary>As a value.</summary>
    public Value ToValue() => new() { Kind = Kind, Number = Number, Bytes = Text };
}

/// <summary>A value while an expression is evaluated: spans over the profile or the event, nothing copied.</summary>
internal readonly ref struct Value
{
    /// <summary>What it is.</summary>
    public ValueKind Kind { get; init; }

    /// <summary>A number; 1 for true.</summary>
    public double Number { get; init; }

    /// <summary>An instant, Unix ms.</summary>
    public long InstantMs { get; init; }

    /// <summary>Text: unescaped. Object: its JSON. List: the JSON of the array; of identifiers their type.</summary>
    public ReadOnlySpan<byte> Bytes { get; init; }

    /// <summary>A list of literals.</summary>
    public Constant[]? Items { get; init; }

    /// <summary>A list of identifiers: where they are.</summary>
    public ProfileState? Identifiers { get; init; }

    /// <summary>true.</summary>
    public bool IsTrue => Kind == ValueKind.Boolean && Number != 0;

    /// <summary>null, or missing.</summary>
    public bool IsNull => Kind == ValueKind.Null;

    /// <summary>From a boolean.</summary>
    public static Value Of(bool value) => new() { Kind = ValueKind.Boolean, Number = value ? 1 : 0 };

    /// <summary>From a number.</summary>
    public static Value Of(double value) => new() { Kind = ValueKind.Number, Number = value };

    /// <summary>From text.</summary>
    public static Value Of(ReadOnlySpan<byte> text) => new() { Kind = ValueKind.Text, Bytes = text };

    /// <summary>From a JSON value.</summary>
    /// <param name="kind">Its first token.</param>
    /// <param name="bytes">Its JSON; of text what is between the quotes.</param>
    /// <param name="isEscaped">The text has backslashes.</param>
    /// <param name="buffer">For unescaped text.</param>
    public static Value FromToken(JsonTokenType kind, ReadOnlySpan<byte> bytes, bool isEscaped, scoped ref byte[] buffer) => kind switch
    {
        JsonTokenType.True => Of(true),
        JsonTokenType.False => Of(false),
        JsonTokenType.Number => Of(ParseDouble(bytes)),
        JsonTokenType.String => Of(isEscaped ? JsonText.Unescape(bytes, ref buffer) : bytes),
        JsonTokenType.StartArray => new Value { Kind = ValueKind.List, Bytes = bytes },
        JsonTokenType.StartObject => new Value { Kind = ValueKind.Object, Bytes = bytes },
        _ => default,
    };

    /// <summary>From the JSON text of one value, without white space around it.</summary>
    public static Value FromJson(ReadOnlySpan<byte> json, scoped ref byte[] buffer)
    {
        if (json.IsEmpty)
        {
            return default;
        }

        switch (json[0])
        {
            case (byte)'"':
                ReadOnlySpan<byte> inner = json[1..^1];
                return FromToken(JsonTokenType.String, inner, inner.Contains((byte)'\\'), ref buffer);
            case (byte)'t':
                return Of(true);
            case (byte)'f':
                return Of(false);
            case (byte)'n':
                return default;
            case (byte)'[':
                return FromToken(JsonTokenType.StartArray, json, false, ref buffer);
            case (byte)'{':
                return FromToken(JsonTokenType.StartObject, json, false, ref buffer);
            default:
                return FromToken(JsonTokenType.Number, json, false, ref buffer);
        }
    }

    /// <summary>Whether it is a date (RULES.md §6.6), and which instant.</summary>
    public bool TryInstant(out long unixMs)
    {
        unixMs = InstantMs;
        return Kind == ValueKind.Instant || (Kind == ValueKind.Text && IsoDate.TryParse(Bytes, out unixMs, out _));
    }

    /// <summary>The nearest double of a JSON number; too large: infinite.</summary>
    public static double ParseDouble(ReadOnlySpan<byte> number)
    {
        bool parsed = Utf8Parser.TryParse(number, out double value, out int consumed);
        Debug.Assert(parsed && consumed == number.Length, "Not a JSON number.");
        return value;
    }

    /// <summary>Writes it as JSON.</summary>
    public void WriteTo(Utf8JsonWriter writer)
    {
        switch (Kind)
        {
            case ValueKind.Boolean:
                writer.WriteBooleanValue(Number != 0);
                break;
            case ValueKind.Number when double.IsFinite(Number):
                writer.WriteNumberValue(Number);
                break;
            case ValueKind.Text:
                writer.WriteStringValue(Bytes);
                break;
            case ValueKind.Instant:
                Span<byte> text = stackalloc byte[Instants.TextBytes];
                writer.WriteStringValue(text[..Instants.Format(InstantMs, text)]);
                break;
            case ValueKind.List when Items is null && Identifiers is null:
            case ValueKind.Object:
                writer.WriteRawValue(Bytes, skipInputValidation: true);
                break;
            case ValueKind.List:
                writer.WriteStartArray();
                byte[] none = [];
                for (var cursor = new ListCursor(this, none); cursor.MoveNext();)
                {
                    cursor.Current.WriteTo(writer);
                }

                writer.WriteEndArray();
                break;
            default:
                writer.WriteNullValue(); // Null, and numbers that JSON cannot express.
                break;
        }
    }
}

/// <summary>Walks the elements of a list.</summary>
internal ref struct ListCursor
{
    private readonly Value _list;
    private Utf8JsonReader _reader;
    private byte[] _buffer;
    private int _next;

    /// <param name="list">A value of kind List.</param>
    /// <param name="buffer">For unescaped text; another is used where it is too small.</param>
    public ListCursor(Value list, byte[] buffer)
    {
        Debug.Assert(list.Kind == ValueKind.List, "Not a list.");
        _list = list;
        _buffer = buffer;
        if (list.Items is null && list.Identifiers is null)
        {
            _reader = new Utf8JsonReader(list.Bytes);
            _reader.Read();
        }
    }

    /// <summary>The element; valid until the next move.</summary>
    public Value Current { get; private set; }

    /// <summary>The buffer that grew, to keep.</summary>
    public readonly byte[] Buffer => _buffer;

    /// <summary>Goes to the next element; false after the last.</summary>
    public bool MoveNext()
    {
        if (_list.Items is { } items)
        {
            if (_next == items.Length)
            {
                return false;
            }

            Current = items[_next++].ToValue();
            return true;
        }

        if (_list.Identifiers is { } profile)
        {
            return MoveNextIdentifier(profile);
        }

        if (!_reader.Read() || _reader.TokenType == JsonTokenType.EndArray)
        {
            return false;
        }

        int start = (int)_reader.TokenStartIndex;
        JsonTokenType kind = _reader.TokenType;
        if (kind == JsonTokenType.String)
        {
            Current = Value.FromToken(kind, _list.Bytes[(start + 1)..((int)_reader.BytesConsumed - 1)], _reader.ValueIsEscaped, ref _buffer);
            return true;
        }

        _reader.Skip();
        Current = Value.FromToken(kind, _list.Bytes[start..(int)_reader.BytesConsumed], false, ref _buffer);
        return true;
    }

    private bool MoveNextIdentifier(ProfileState profile)
    {
        ReadOnlySpan<IdentifierEntry> entries = profile.Identifiers;
        while (_next < entries.Length)
        {
            ref readonly IdentifierEntry entry = ref entries[_next++];
            if (profile.Bytes(entry.Type).SequenceEqual(_list.Bytes))
            {
                Current = Value.Of(profile.Bytes(entry.Value));
                return true;
            }
        }

        return false;
    }
}
