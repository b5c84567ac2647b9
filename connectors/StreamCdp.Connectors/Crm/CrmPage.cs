namespace StreamCdp.Connectors.Crm;

/// <summary>Part of what a CRM has.</summary>
/// <param name="Records">Whole records, in any order; one may come in several pages. May be empty, also with <paramref name="Next"/> set.</param>
/// <param name="Next">Continues after this page; null: this was the last one. A page never leads back to itself. Opaque, up to 1,000 characters, good for at least an hour and over restarts of both sides.</param>
/// <param name="ServerTime">The CRM's clock when it began to answer, or before.</param>
public sealed record CrmPage(IReadOnlyList<CrmRecord> Records, string? Next, DateTimeOffset ServerTime);

/// <summary>A field of an object, as the CRM itself describes it.</summary>
/// <param name="Name">The CRM's name.</param>
/// <param name="Type">What values are.</param>
/// <param name="IsReadOnly">It cannot be written.</param>
/// <param name="Options">The only values that it takes; null: any of the type.</param>
public sealed record CrmField(string Name, CrmFieldType Type, bool IsReadOnly, IReadOnlyList<string>? Options = null);

/// <summary>What the values of a field are.</summary>
public enum CrmFieldType
{
    /// <summary>Text.</summary>
    Text,

    /// <summary>A number.</summary>
    Number,

    /// <summary>True or false.</summary>
    Boolean,

    /// <summary>A day, as text 2026-11-25.</summary>
    Date,

    /// <summary>An instant, as text 2026-11-25T10:00:00.000Z.</summary>
    Instant,

    /// <summary>A list of text.</summary>
    List,
}
