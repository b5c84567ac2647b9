namespace StreamCdp.Connectors.Actions;

/// <summary>A CRM in which notes, or tasks, can be put to a contact.</summary>
public interface ICrmNotes
{
    /// <summary>What it has: <c>note</c>, <c>task</c>, or both.</summary>
    IReadOnlyList<string> NoteKinds { get; }

    /// <summary>Puts one to a contact. One that was made with the same key is found, whatever its texts are now, and none is made: so a call that comes again does nothing.</summary>
    /// <param name="key">Names it.</param>
    /// <param name="contactId">A contact that lives.</param>
    /// <param name="kind">One of <see cref="NoteKinds"/>.</param>
    /// <param name="subject">Of a task; empty for a note.</param>
    /// <param name="text">May be empty for a task.</param>
    /// <param name="at">When the change was that it is for.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Taken, or refused with the CRM's reason.</returns>
    ValueTask<Outcome> AddNoteAsync(string key, string contactId, string kind, string subject, string text, DateTimeOffset at, CancellationToken cancellationToken);
}
