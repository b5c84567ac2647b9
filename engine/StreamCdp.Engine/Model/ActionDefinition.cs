namespace StreamCdp.Engine.Model;

/// <summary>What a destination does for a person who enters or leaves a segment.</summary>
public sealed record ActionDefinition
{
    /// <summary>Name, unique within the destination. What was done already is known by it.</summary>
    public required string Id { get; init; }

    /// <summary>Whose change starts it.</summary>
    public required string Segment { get; init; }

    /// <summary>Entering starts it; else leaving.</summary>
    public required bool OnEntered { get; init; }

    /// <summary>How long it waits, ms; then it is only done where the person is still in the segment, or still out of it. 0: at once, also where that ended since.</summary>
    public long AfterMs { get; init; }

    /// <summary>How often at most for one person; null: each time.</summary>
    public ActionLimit? AtMost { get; init; }

    /// <summary>Changes that come from counting history again start it, too.</summary>
    public bool Backfill { get; init; }

    /// <summary>What is done.</summary>
    public required ActionVerb Verb { get; init; }

    /// <summary>Of <see cref="ActionVerb.Create"/> the object (task, note, deal), of a list its name.</summary>
    public string What { get; init; } = "";

    /// <summary>Templates by name: of a mail subject, text, html; of an object its fields.</summary>
    public IReadOnlyDictionary<string, MessageTemplate> Fields { get; init; } = new Dictionary<string, MessageTemplate>();
}

/// <summary>A frequency cap.</summary>
/// <param name="Times">1 or more.</param>
/// <param name="WithinMs">In each stretch of this length, ms.</param>
public sealed record ActionLimit(int Times, long WithinMs);

/// <summary>What an action does.</summary>
public enum ActionVerb
{
    /// <summary>Sends a message.</summary>
    Send,

    /// <summary>Makes a record that belongs to the person.</summary>
    Create,

    /// <summary>Puts the person on a list.</summary>
    AddTo,

    /// <summary>Takes the person off a list.</summary>
    RemoveFrom,
}

/// <summary>What a destination that sends mails needs beside address and secret.</summary>
/// <param name="From">Sender: an address, or a name with an address in angle brackets.</param>
/// <param name="User">Login; empty: none.</param>
/// <param name="CaFile">PEM of the authorities that the server's certificate may come from; empty: those of the system.</param>
/// <param name="Unsubscribe">Public address of this server, for links to unsubscribe; null: there are none.</param>
public sealed record EmailDefinition(string From, string User, string CaFile, Uri? Unsubscribe);

/// <summary>A purpose that a person can consent to.</summary>
/// <param name="Purpose">Its name.</param>
/// <param name="Path">traits.…: the person consents where it is true.</param>
public sealed record ConsentDefinition(string Purpose, PathExpression Path);
