using System.IO.Compression;
using System.Security.Cryptography;

namespace StreamCdp.Cli.Import;

/// <summary>The file or standard input, with an identity that is the same whenever the same content is imported.</summary>
internal sealed class ImportInput : IAsyncDisposable
{
    private const int PrefixBytes = 1 << 20;
    private readonly Stream _raw;
    private readonly Stream _content;

    private ImportInput(Stream raw, Stream content, byte[] prefix)
    {
        _raw = raw;
        _content = content;
        Content = new PrefixedStream(prefix, content);
        Identity = Convert.ToHexStringLower(SHA256.HashData(prefix))[..16];
    }

    /// <summary>What is read; gzip is inflated.</summary>
    public Stream Content { get; }

    /// <summary>Hash of the first MiB: the same for a file that only grew at its end, another for every other file.</summary>
    public string Identity { get; }

    /// <summary>Bytes of the file; null: unknown (standard input).</summary>
    public long? Length => _raw.CanSeek ? _raw.Length : null;

    /// <summary>Bytes of the file read so far.</summary>
    public long Position => _raw.CanSeek ? _raw.Position : 0;

    /// <summary>Opens a file.</summary>
    public static async Task<ImportInput> OpenAsync(string path, CancellationToken cancellationToken)
    {
        var file = new FileStream(path, new FileStreamOptions { Access = FileAccess.Read, Share = FileShare.ReadWrite, Options = FileOptions.Asynchronous | FileOptions.SequentialScan, BufferSize = 1 << 16 });
        return await FromAsync(file, path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads a stream, such as standard input.</summary>
    public static async Task<ImportInput> FromAsync(Stream raw, bool isGzip, CancellationToken cancellationToken)
    {
        Stream content = isGzip ? new GZipStream(raw, CompressionMode.Decompress) : raw;
        byte[] prefix = new byte[PrefixBytes];
        int length = await content.ReadAtLeastAsync(prefix, PrefixBytes, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        return new ImportInput(raw, content, prefix[..length]);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _content.DisposeAsync().ConfigureAwait(false);
        await _raw.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Gives back what was read for the identity, then the rest.</summary>
    private sealed class PrefixedStream(byte[] prefix, Stream rest) : Stream
    {
        private int _given;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            int count = Math.Min(buffer.Length, prefix.Length - _given);
            if (count == 0)
            {
                return rest.Read(buffer);
            }

            prefix.AsSpan(_given, count).CopyTo(buffer);
            _given += count;
            return count;
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            _given < prefix.Length ? new ValueTask<int>(Read(buffer.Span)) : rest.ReadAsync(buffer, cancellationToken);

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
