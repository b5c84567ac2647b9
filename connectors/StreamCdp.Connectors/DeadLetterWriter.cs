using System.Text;
using StreamCdp.Engine.Logs;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors;

/// <summary>Writes what an outside system refused to the log of dead letters. Not safe for concurrent use.</summary>
internal sealed class DeadLetterWriter(DeliveryParts parts, string connectionId) : IDisposable
{
    private ILogWriter _writer = parts.DeadLetters.OpenWriter();
    private readonly byte[] _id = Encoding.UTF8.GetBytes(connectionId);
    private readonly byte[] _reason = Encoding.UTF8.GetBytes(Delivery.RefusedReason);
    private byte[] _letter = new byte[1024];

    /// <summary>Appends one; it is durable after <see cref="DurableAsync"/>.</summary>
    /// <param name="change">What was refused.</param>
    /// <param name="log">Log that the change came from; empty: from none.</param>
    /// <param name="partition">Partition there.</param>
    /// <param name="offset">Offset there.</param>
    /// <param name="timestampMs">Time of that record, Unix ms.</param>
    /// <param name="detail">Why; for people.</param>
    public void Append(ProfileChange change, ReadOnlySpan<byte> log, int partition, long offset, long timestampMs, string detail)
    {
        int end = new DeadLetter
        {
            OriginLog = log,
            OriginPartition = partition,
            OriginOffset = offset,
            Source = _id,
            At = parts.Time.GetUtcNow().ToUnixTimeMilliseconds(),
            Reason = _reason,
            Detail = Encoding.UTF8.GetBytes(detail),
            Payload = ChangeJson.Bytes(change),
            ReceivedAt = timestampMs,
        }.WriteTo(ref _letter, WireFormat.WriteHeader(ref _letter, 0, parts.Schemas[RecordType.DeadLetter]));
        try
        {
            _writer.Append(0, default, _letter.AsSpan(0, end), timestampMs);
        }
        catch (LogUnavailableException)
        {
            Renew();
            throw;
        }
    }

    /// <summary>Waits until all are durable, and counts them.</summary>
    public async ValueTask DurableAsync(int written)
    {
        try
        {
            await _writer.WaitDurableAsync(_writer.Appended, CancellationToken.None).ConfigureAwait(false);
        }
        catch (LogUnavailableException)
        {
            Renew();
            throw;
        }

        parts.OnDeadLetters(written);
    }

    /// <summary>A writer that gave up stays so: the caller's next try needs another one.</summary>
    private void Renew()
    {
        _writer.Dispose();
        _writer = parts.DeadLetters.OpenWriter();
    }

    /// <inheritdoc/>
    public void Dispose() => _writer.Dispose();
}
