using System.Text.Json;

namespace StreamCdp.Connectors;

/// <summary>What changed.</summary>
public enum ChangeKind
{
    /// <summary>The profile is a member of the segment from now on.</summary>
    Entered,

    /// <summary>The profile is a member of the segment no longer.</summary>
    Exited,

    /// <summary>The profile has other identifiers, traits, computed traits or segments.</summary>
    Profile,

    /// <summary>The profile is part of another one from now on, and exists no longer. Its memberships end with it; no exit is sent for them.</summary>
    Merged,

    /// <summary>The profile takes back the consent to the destination's purpose: what the other side has of it is to be removed there.</summary>
    Suppressed,
}

/// <summary>One change of one profile, as destinations get it.</summary>
public sealed record ProfileChange
{
    /// <summary>What changed.</summary>
    public required ChangeKind Kind { get; init; }

    /// <summary>Canonical id, 32 lower-case hex digits.</summary>
    public required string ProfileId { get; init; }

    /// <summary>Version of the profile at this change. It only grows: of a profile and segment, and of a profile for the kinds without one, a receiver drops what is not newer than what it has.</summary>
    public required long Version { get; init; }

    /// <summary>The instant of the change.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>Id of the segment; null for <see cref="ChangeKind.Profile"/> and <see cref="ChangeKind.Merged"/>.</summary>
    public string? Segment { get; init; }

    /// <summary>Version of the segment's rule, 16 hex digits.</summary>
    public string? SegmentVersion { get; init; }

    /// <summary>messageId of the causing event; null where no event did it.</summary>
    public string? Cause { get; init; }

    /// <summary>Of a membership: event, merge, time, edit or backfill.</summary>
    public string? Reason { get; init; }

    /// <summary>The change comes from counting history again.</summary>
    public bool Backfill { get; init; }

    /// <summary>The survivor: of <see cref="ChangeKind.Merged"/>, and of a change that is sent when its profile has become part of another one already.</summary>
    public string? MergedInto { get; init; }

    /// <summary>Id of the action that a membership started; null: the change itself is told.</summary>
    public string? Action { get; init; }

    /// <summary>The profile's identifiers when the change was sent, in order of joining; empty where nobody knows it any more.</summary>
    public IReadOnlyList<ChangeIdentifier> Identifiers { get; init; } = [];

    /// <summary>Segments that the profile is in; only for <see cref="ChangeKind.Profile"/>.</summary>
    public IReadOnlyList<string>? Segments { get; init; }

    /// <summary>The mapped fields by name, JSON null where the profile has no such value; null without a mapping.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Fields { get; init; }

    /// <summary>All sent traits; only for <see cref="ChangeKind.Profile"/> without a mapping.</summary>
    public JsonElement? Traits { get; init; }

    /// <summary>All computed traits; only for <see cref="ChangeKind.Profile"/> without a mapping.</summary>
    public JsonElement? Computed { get; init; }

    /// <summary>The same each time this change is sent, and different for any other: what a receiver knows repeats by.</summary>
    public string Id => string.Join(':', ((string?[])[ProfileId, Version.ToString(System.Globalization.CultureInfo.InvariantCulture), ChangeJson.Name(Kind), Segment, Action]).Where(part => part is not null));
}

/// <summary>An identifier of a profile.</summary>
/// <param name="Type">Type of the model.</param>
/// <param name="Value">Normalised value.</param>
public sealed record ChangeIdentifier(string Type, string Value);
