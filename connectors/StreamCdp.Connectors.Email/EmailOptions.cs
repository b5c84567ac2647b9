using MimeKit;

namespace StreamCdp.Connectors.Email;

/// <summary>Which server takes the mails, and who sends them.</summary>
public sealed record EmailOptions
{
    /// <summary><c>smtp://host:587</c>, which goes on with STARTTLS, or <c>smtps://host:465</c>.</summary>
    public required Uri Url { get; init; }

    /// <summary>Login; empty: the server asks for none.</summary>
    public string User { get; init; } = "";

    /// <summary>Its password.</summary>
    public string Password { get; init; } = "";

    /// <summary>Sender: an address, or a name with an address in angle brackets.</summary>
    public required string From { get; init; }

    /// <summary>PEM file of the authorities that the server's certificate may come from; empty: those of the system.</summary>
    public string CaFile { get; init; } = "";

    /// <summary>Goes on without encryption where the server offers no STARTTLS; to this machine that is allowed always.</summary>
    public bool AllowsPlain { get; init; }

    /// <summary>How long each answer of the server may take. 1 s to 5 min, default 30 s.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Every broken rule; the password is not shown. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (Url.Scheme is not ("smtp" or "smtps"))
        {
            yield return "url has to begin with smtp:// or smtps://";
        }

        if (!MailboxAddress.TryParse(From, out _))
        {
            yield return "from is no address such as Shop <hello@shop.example>";
        }

        if (CaFile.Length > 0 && !File.Exists(CaFile))
        {
            yield return $"ca is {CaFile}, which is not there; expected a PEM file";
        }

        if (User.Length == 0 != (Password.Length == 0))
        {
            yield return "user and secret go together";
        }

        if (Timeout < TimeSpan.FromSeconds(1) || Timeout > TimeSpan.FromMinutes(5))
        {
            yield return $"timeout is {Timeout.TotalSeconds:0.###} s; allowed are 1 s to 5 min";
        }
    }
}
