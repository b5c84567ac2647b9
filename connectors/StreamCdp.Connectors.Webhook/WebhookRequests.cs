using System.Buffers;
using System.Globalization;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace StreamCdp.Connectors.Webhook;

/// <summary>The request of a batch, and its signature.</summary>
public static class WebhookRequests
{
    /// <summary>Header with the time of the request, Unix seconds.</summary>
    public const string TimestampHeader = "StreamCdp-Timestamp";

    /// <summary>Header with <c>v1=</c> and the signature in hex.</summary>
    public const string SignatureHeader = "StreamCdp-Signature";

    /// <summary>Header that is the same each time the same body is sent.</summary>
    public const string DeliveryHeader = "StreamCdp-Delivery";

    private static readonly JsonWriterOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    /// <summary>The body: <c>{"changes":[…]}</c>.</summary>
    public static byte[] Body(IReadOnlyList<ProfileChange> batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(buffer, s_json))
        {
            json.WriteStartObject();
            json.WriteStartArray("changes"u8);
            foreach (ProfileChange change in batch)
            {
                ChangeJson.Write(json, change);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary><c>v1=</c> and hex of HMAC-SHA256, with the secret, of the timestamp as text, a dot and the body.</summary>
    public static string Signature(string secret, long timestamp, ReadOnlySpan<byte> body)
    {
        using var hmac = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, Encoding.UTF8.GetBytes(secret));
        hmac.AppendData(Encoding.UTF8.GetBytes(timestamp.ToString(CultureInfo.InvariantCulture) + "."));
        hmac.AppendData(body);
        return "v1=" + Convert.ToHexStringLower(hmac.GetHashAndReset());
    }

    /// <summary>A signed request.</summary>
    /// <param name="options">Where to, and the secret.</param>
    /// <param name="body">Of <see cref="Body"/>.</param>
    /// <param name="timestamp">Unix seconds.</param>
    public static HttpRequestMessage Request(WebhookOptions options, byte[] body, long timestamp)
    {
        ArgumentNullException.ThrowIfNull(options);
        var request = new HttpRequestMessage(HttpMethod.Post, options.Url) { Content = new ByteArrayContent(body) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        request.Headers.UserAgent.Add(new ProductInfoHeaderValue("StreamCdp", "1"));
        request.Headers.Add(TimestampHeader, timestamp.ToString(CultureInfo.InvariantCulture));
        request.Headers.Add(SignatureHeader, Signature(options.Secret, timestamp, body));
        request.Headers.Add(DeliveryHeader, Convert.ToHexStringLower(SHA256.HashData(body).AsSpan(0, 16)));
        return request;
    }
}
