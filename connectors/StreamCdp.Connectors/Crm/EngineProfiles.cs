using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors.Crm;

/// <summary>The engine of this process.</summary>
/// <param name="model">For the identifiers of events.</param>
/// <param name="sourceId">Source of the events.</param>
/// <param name="events">The log <c>events</c>.</param>
/// <param name="schemas">Ids of the records' schemas.</param>
/// <param name="applied">Waits until all that is durable in the log is applied.</param>
/// <param name="find">Finds a profile.</param>
internal sealed class EngineProfiles(
    CdpModel model,
    string sourceId,
    ILog events,
    SchemaIds schemas,
    Func<CancellationToken, Task> applied,
    Func<string, string, CancellationToken, ValueTask<ProfileView?>> find) : IProfiles, IDisposable
{
    private readonly EventReader _reader = new(model);
    private readonly byte[] _source = System.Text.Encoding.UTF8.GetBytes(sourceId);
    private ILogWriter _writer = events.OpenWriter();
    private byte[] _record = new byte[4096];

    /// <inheritdoc/>
    public bool TryAppend(ReadOnlySpan<byte> payload, DateTimeOffset at)
    {
        if (_reader.Read(payload, default, EventType.Unknown) != EventProblem.None)
        {
            return false;
        }

        int length = new CustomerEvent
        {
            MessageId = _reader.MessageId,
            Type = EventTypeText.Text(_reader.Type),
            Source = _source,
            ReceivedAt = at.ToUnixTimeMilliseconds(),
            Payload = payload,
        }.WriteTo(ref _record, WireFormat.WriteHeader(ref _record, 0, schemas[RecordType.CustomerEvent]));
        try
        {
            _writer.Append(EventPartition.Of(_reader.SenderHash, events.Partitions), _reader.SenderKey, _record.AsSpan(0, length), at.ToUnixTimeMilliseconds());
            return true;
        }
        catch (LogUnavailableException)
        {
            Renew();
            throw;
        }
    }

    /// <inheritdoc/>
    public async ValueTask AppliedAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _writer.WaitDurableAsync(_writer.Appended, cancellationToken).ConfigureAwait(false);
        }
        catch (LogUnavailableException)
        {
            Renew();
            throw;
        }

        await applied(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public ValueTask<ProfileView?> FindAsync(string type, string value, CancellationToken cancellationToken) => find(type, value, cancellationToken);

    /// <summary>Kafka was away for longer than its time limit. What was lost with the writer is appended again by the round that comes again, so the round must fail.</summary>
    private void Renew()
    {
        _writer.Dispose();
        _writer = events.OpenWriter();
    }

    /// <inheritdoc/>
    public void Dispose() => _writer.Dispose();
}
