namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>What a CRM record is; the numbers are in profile records.</summary>
internal enum CrmObject : byte
{
    /// <summary>A person.</summary>
    Contact,

    /// <summary>A chance to sell.</summary>
    Deal,

    /// <summary>A person who is not a customer yet, where the CRM keeps such people apart.</summary>
    Lead,

    /// <summary>An organisation.</summary>
    Company,

    /// <summary>A call, a meeting, a task, …</summary>
    Activity,
}

/// <summary>The words for <see cref="CrmObject"/>.</summary>
internal static class CrmObjects
{
    /// <summary>How many there are.</summary>
    public const int Count = 5;

    private static readonly (byte[] Text, string Collection)[] s_words =
    [
        ("contact"u8.ToArray(), "contacts"),
        ("deal"u8.ToArray(), "deals"),
        ("lead"u8.ToArray(), "leads"),
        ("company"u8.ToArray(), "companies"),
        ("activity"u8.ToArray(), "activities"),
    ];

    /// <summary>Name of its collection in expressions and documents.</summary>
    public static string Collection(CrmObject type) => s_words[(int)type].Collection;

    /// <summary>The object of a collection's name.</summary>
    /// <exception cref="InvalidOperationException">There is no such collection; the model was not checked.</exception>
    public static CrmObject OfCollection(string collection)
    {
        int index = Array.FindIndex(s_words, word => word.Collection == collection);
        return index >= 0 ? (CrmObject)index : throw new InvalidOperationException($"The model was not checked: there is no collection {collection}.");
    }

    /// <summary>Reads the word of an event.</summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out CrmObject type)
    {
        for (int i = 0; i < s_words.Length; i++)
        {
            if (text.SequenceEqual(s_words[i].Text))
            {
                type = (CrmObject)i;
                return true;
            }
        }

        type = default;
        return false;
    }
}
