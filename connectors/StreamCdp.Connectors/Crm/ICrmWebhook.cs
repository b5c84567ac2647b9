namespace StreamCdp.Connectors.Crm;

/// <summary>Understands what a CRM sends when something changed there.</summary>
/// <remarks>Such a message is a hint: it comes twice, late, in any order or not at all. The kit reads the records that it names; what is read is the truth, and the readers find what no hint told of.</remarks>
public interface ICrmWebhook
{
    /// <summary>Checks the signature and reads the hints.</summary>
    /// <param name="method">Of the request.</param>
    /// <param name="header">A header's value; null: there is none.</param>
    /// <param name="body">As it came, up to 1 MiB.</param>
    /// <param name="now">For the age of the signature.</param>
    /// <returns>Null: the CRM did not sign this, or long ago.</returns>
    /// <exception cref="System.Text.Json.JsonException">It is signed, and not what this CRM sends.</exception>
    IReadOnlyList<CrmHint>? Read(string method, Func<string, string?> header, ReadOnlySpan<byte> body, DateTimeOffset now);
}

/// <summary>A record that may have changed: read it.</summary>
/// <param name="Kind">Of which object.</param>
/// <param name="Id">Its id, or that of one that became part of it.</param>
public readonly record struct CrmHint(CrmObject Kind, string Id);
