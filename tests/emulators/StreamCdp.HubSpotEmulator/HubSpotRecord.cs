using System.Globalization;

namespace StreamCdp.HubSpotEmulator;

/// <summary>A value that a property had, newest first in its history.</summary>
public sealed record HistoricValue(string Value, DateTimeOffset At, string SourceType);

/// <summary>A contact, company, deal or activity.</summary>
public sealed class HubSpotRecord
{
    internal HubSpotRecord(string kind, long id, DateTimeOffset createdAt)
    {
        Kind = kind;
        Id = id;
        CreatedAt = createdAt;
        UpdatedAt = createdAt;
    }

    public string Kind { get; }

    public long Id { get; }

    public DateTimeOffset CreatedAt { get; }

    public DateTimeOffset UpdatedAt { get; internal set; }

    public DateTimeOffset? ArchivedAt { get; internal set; }

    /// <summary>What took it over.</summary>
    public HubSpotRecord? MergedInto { get; internal set; }

    /// <summary>Grows with each change, so that an old image of it never replaces a newer one in the search index.</summary>
    internal long Version { get; set; }

    internal SortedDictionary<string, string> Values { get; } = new(StringComparer.Ordinal);

    internal Dictionary<string, List<HistoricValue>> History { get; } = new(StringComparer.Ordinal);

    public string? this[string property] => Values.GetValueOrDefault(property);

    public string IdText => Id.ToString(CultureInfo.InvariantCulture);
}

/// <summary>What the search index has of a record.</summary>
internal sealed record IndexedRecord(HubSpotRecord Record, long Version, bool IsGone, Dictionary<string, string> Values, DateTimeOffset UpdatedAt);

/// <summary>A property of an object.</summary>
/// <param name="Name">Lower case.</param>
/// <param name="Type">string, number, bool, date, datetime, enumeration.</param>
/// <param name="FieldType">text, number, booleancheckbox, date, select, checkbox, calculation_equation.</param>
/// <param name="IsReadOnly">HubSpot computes it.</param>
/// <param name="HasUniqueValue">No two records have the same value, and it is a legal idProperty.</param>
/// <param name="Options">Values of an enumeration.</param>
/// <param name="Label">For people.</param>
/// <param name="Group">Where people find it.</param>
/// <param name="OptionLabels">What people see of each option; null: the options themselves.</param>
public sealed record HubSpotProperty(string Name, string Type, string FieldType, bool IsReadOnly = false, bool HasUniqueValue = false, IReadOnlyList<string>? Options = null, string? Label = null, string Group = "information", IReadOnlyList<string>? OptionLabels = null);

/// <summary>A stage of deals.</summary>
public sealed record HubSpotStage(string Id, string Label, double Probability, bool IsClosed);

/// <summary>A pipeline of deals.</summary>
public sealed record HubSpotPipeline(string Id, string Label, IReadOnlyList<HubSpotStage> Stages);

/// <summary>A static list of contacts.</summary>
internal sealed class HubSpotList(long id, string name, string processingType)
{
    public string Id { get; } = id.ToString(CultureInfo.InvariantCulture);

    public string Name { get; } = name;

    public string ProcessingType { get; } = processingType;

    public SortedDictionary<long, DateTimeOffset> Members { get; } = [];
}
