using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace StreamCdp.Connectors.Actions;

/// <summary>Links by which people unsubscribe without logging in: each names a destination and a profile, and nobody can make one up.</summary>
/// <remarks>Nothing is stored for a link: it is signed (HMAC-SHA256, cut to 128 bits) with a key that is made once and kept beside the cursors. It holds for as long as the key does.</remarks>
internal sealed class UnsubscribeLinks
{
    private const int KeyBytes = 32;
    private const int IdBytes = 16;
    private const int SignatureBytes = 16;
    private readonly byte[] _key;

    /// <summary>Reads the key, or makes it.</summary>
    /// <param name="directory">Made where it is missing.</param>
    /// <exception cref="InvalidDataException">The key's file is damaged.</exception>
    public UnsubscribeLinks(string directory)
    {
        Directory.CreateDirectory(directory);
        string path = System.IO.Path.Combine(directory, "unsubscribe.key");
        if (!File.Exists(path))
        {
            var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            }

            using (var file = new FileStream(path + ".new", options))
            {
                file.Write(RandomNumberGenerator.GetBytes(KeyBytes));
                file.Flush(flushToDisk: true);
            }

            File.Move(path + ".new", path);
        }

        _key = File.ReadAllBytes(path);
        if (_key.Length != KeyBytes)
        {
            throw new InvalidDataException($"{path} is damaged. Put back a copy, or delete it: then the links of all mails that were sent are dead.");
        }
    }

    /// <summary>The path of a link.</summary>
    /// <param name="destinationId">A name of the model.</param>
    /// <param name="profileId">32 hex digits.</param>
    public string Path(string destinationId, string profileId)
    {
        byte[] data = [.. Convert.FromHexString(profileId), .. Encoding.UTF8.GetBytes(destinationId)];
        return "v1/unsubscribe/" + Base64Url.EncodeToString([.. data, .. Sign(data)]);
    }

    /// <summary>What a link says; false: it is none of ours.</summary>
    public bool TryRead(string token, out string destinationId, out string profileId)
    {
        (destinationId, profileId) = ("", "");
        byte[] bytes = new byte[Base64Url.GetMaxDecodedLength(token.Length)];
        if (token.Length > 300 || !Base64Url.TryDecodeFromChars(token, bytes, out int length) || length <= IdBytes + SignatureBytes)
        {
            return false;
        }

        ReadOnlySpan<byte> data = bytes.AsSpan(0, length - SignatureBytes);
        if (!CryptographicOperations.FixedTimeEquals(Sign(data), bytes.AsSpan(data.Length, SignatureBytes)))
        {
            return false;
        }

        (profileId, destinationId) = (Convert.ToHexStringLower(data[..IdBytes]), Encoding.UTF8.GetString(data[IdBytes..]));
        return true;
    }

    private byte[] Sign(ReadOnlySpan<byte> data) => HMACSHA256.HashData(_key, data)[..SignatureBytes];
}
