namespace StreamCdp.Connectors.Crm;

/// <summary>The engine, as a connection sees it: events in, profiles out.</summary>
internal interface IProfiles
{
    /// <summary>Appends an event of the connection's source.</summary>
    /// <param name="payload">JSON in the Segment shape, with messageId and timestamp.</param>
    /// <param name="at">Its time, which is also when it was received.</param>
    /// <returns>False: it is no valid event; nothing was appended.</returns>
    bool TryAppend(ReadOnlySpan<byte> payload, DateTimeOffset at);

    /// <summary>Waits until what was appended is durable and applied: profiles show it.</summary>
    /// <exception cref="TimeoutException">It took longer than allowed. It may be applied later.</exception>
    ValueTask AppliedAsync(CancellationToken cancellationToken);

    /// <summary>A profile as it is now, by any identifier or by <c>id</c>; a merged one answers with its survivor. Null: nobody has it.</summary>
    ValueTask<ProfileView?> FindAsync(string type, string value, CancellationToken cancellationToken);
}
