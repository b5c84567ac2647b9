using System.Security.Cryptography;
using System.Text;
using MimeKit;
using StreamCdp.Connectors.Actions;

namespace StreamCdp.Connectors.Email;

/// <summary>Makes the mail of an action.</summary>
internal static class EmailMessages
{
    private const int MostSubject = 200;

    /// <summary>The mail; null where the person's address is none.</summary>
    /// <param name="call">Whom, and what.</param>
    /// <param name="from">Sender.</param>
    /// <param name="date">When it is sent.</param>
    public static MimeMessage? Make(ActionCall call, MailboxAddress from, DateTimeOffset date)
    {
        if (!MailboxAddress.TryParse(call.Targets[0], out MailboxAddress? to) || to.Address != call.Targets[0])
        {
            return null; // Such as "a@b.c, d@e.f", which is two.
        }

        var message = new MimeMessage { Subject = Line(call.Fields["subject"]), Date = date, MessageId = Id(call.Key, from.Domain) };
        message.From.Add(from);
        message.To.Add(to);
        message.Headers.Add("Auto-Submitted", "auto-generated"); // RFC 3834: so that out-of-office notes are not sent back.
        if (call.UnsubscribeUrl is { } url)
        {
            message.Headers.Add("List-Unsubscribe", $"<{url.AbsoluteUri}>");
            message.Headers.Add("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"); // RFC 8058.
        }

        var body = new BodyBuilder { TextBody = call.Fields.GetValueOrDefault("text"), HtmlBody = call.Fields.GetValueOrDefault("html") };
        message.Body = body.ToMessageBody();
        return message;
    }

    /// <summary>The same for the same action: a server or a reader that sees it twice can tell.</summary>
    private static string Id(string key, string domain) => $"{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)).AsSpan(0, 16))}@{domain}";

    /// <summary>One line: no value of a profile may begin a header of its own.</summary>
    private static string Line(string text)
    {
        string line = string.Join(' ', text.Split((char[])['\r', '\n', '\t', '\0', ' '], StringSplitOptions.RemoveEmptyEntries));
        return line.Length <= MostSubject ? line : line[..MostSubject];
    }
}
