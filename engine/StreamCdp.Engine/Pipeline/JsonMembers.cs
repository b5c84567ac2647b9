using System.Text.Json;

namespace StreamCdp.Engine.Pipeline;

/// <summary>A key of a JSON object with its value, by their places in the text.</summary>
internal struct JsonMember
{
    /// <summary>Of the unescaped key.</summary>
    public UInt128 Hash;

    /// <summary>The key between its quotes, as it stands there.</summary>
    public Range Name;

    /// <summary>The value; of text with its quotes.</summary>
    public Range Value;

    /// <summary>The key has backslashes.</summary>
    public bool NameIsEscaped;

    /// <summary>The value is null.</summary>
    public bool IsNull;
}

/// <summary>Lists the keys of a JSON object with their values; of a key that comes twice the last one counts, as in JSON.parse.</summary>
/// <remarks>Cost: no allocation once the list has grown. Not for several threads.</remarks>
internal sealed class JsonMembers
{
    private JsonMember[] _members = new JsonMember[32];
    private byte[] _name = new byte[256];
    private int _count;

    /// <summary>What <see cref="Find"/> found, in the order of the keys' first places; valid until its next call.</summary>
    public ReadOnlySpan<JsonMember> Found => _members.AsSpan(0, _count);

    /// <summary>Reads an object that a JSON reader has accepted before.</summary>
    public void Find(ReadOnlySpan<byte> json)
    {
        _count = 0;
        var reader = new Utf8JsonReader(json);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            int nameStart = (int)reader.TokenStartIndex + 1;
            var member = new JsonMember { Name = nameStart..(nameStart + reader.ValueSpan.Length), NameIsEscaped = reader.ValueIsEscaped };
            member.Hash = Hash128.Of(Name(json, member));
            reader.Read();
            int start = (int)reader.TokenStartIndex;
            member.IsNull = reader.TokenType == JsonTokenType.Null;
            reader.Skip();
            member.Value = start..(int)reader.BytesConsumed;
            int place = 0;
            while (place < _count && _members[place].Hash != member.Hash)
            {
                place++;
            }

            if (place == _members.Length)
            {
                Array.Resize(ref _members, place * 2);
            }

            _members[place] = member;
            _count = Math.Max(_count, place + 1);
        }
    }

    /// <summary>The unescaped key; valid until the next call.</summary>
    public ReadOnlySpan<byte> Name(ReadOnlySpan<byte> json, in JsonMember member)
    {
        ReadOnlySpan<byte> name = json[member.Name];
        if (!member.NameIsEscaped)
        {
            return name;
        }

        if (_name.Length < name.Length)
        {
            _name = new byte[name.Length * 2];
        }

        return _name.AsSpan(0, JsonText.Unescape(name, _name));
    }
}
