namespace StreamCdp.Engine.Model;

/// <summary>Reads a webhook.</summary>
internal static class WebhookReader
{
    public static readonly string[] Keys = ["url", "secret", "segments", "start", "send", "fields", "allow_http", "batch"];

    public static DestinationDefinition Read(DestinationItem item)
    {
        bool allowsHttp = item.IsOn("allow_http");
        return item.Delivered(new DestinationDefinition
        {
            Id = item.Id,
            Kind = item.Kind,
            Url = item.Url(allowsHttp),
            Secret = item.Secret("a webhook", isSigning: true) ?? "",
            AllowsHttp = allowsHttp,
        });
    }
}
