using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Actions;

namespace StreamCdp.Connectors.HubSpot;

public sealed partial class HubSpotCrm : ICrmNotes
{
    /// <summary>HubSpot's own number of the link from a note, and from a task, to a contact.</summary>
    private const int NoteToContact = 202;
    private const int TaskToContact = 204;

    /// <inheritdoc/>
    public IReadOnlyList<string> NoteKinds { get; } = ["note", "task"];

    /// <inheritdoc/>
    /// <remarks>
    /// Its time is the change's, moved by less than a second by its key: by that it is found among the contact's newest hundred. It is made with its link in one request, so one whose answer was lost is found,
    /// too.
    /// </remarks>
    public async ValueTask<Outcome> AddNoteAsync(string key, string contactId, string kind, string subject, string text, DateTimeOffset at, CancellationToken cancellationToken)
    {
        bool isTask = kind == "task";
        string kindName = isTask ? "tasks" : "notes";
        at = DateTimeOffset.FromUnixTimeMilliseconds(at.ToUnixTimeMilliseconds() + (BinaryPrimitives.ReadUInt16LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(key))) % 1000));
        if (await HasNoteAsync(contactId, kindName, at, cancellationToken).ConfigureAwait(false))
        {
            return Outcome.Taken;
        }

        var properties = new JsonObject { ["hs_timestamp"] = at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture) };
        string html = WebUtility.HtmlEncode(text).ReplaceLineEndings("<br>"); // Bodies are HTML.
        if (isTask)
        {
            properties["hs_task_subject"] = subject;
            properties["hs_task_body"] = html;
            properties["hs_task_status"] = "NOT_STARTED";
        }
        else
        {
            properties["hs_note_body"] = html;
        }

        var link = new JsonObject
        {
            ["to"] = new JsonObject { ["id"] = contactId },
            ["types"] = new JsonArray(new JsonObject { ["associationCategory"] = "HUBSPOT_DEFINED", ["associationTypeId"] = isTask ? TaskToContact : NoteToContact }),
        };
        var body = new JsonObject { ["inputs"] = new JsonArray(new JsonObject { ["properties"] = properties, ["associations"] = new JsonArray(link) }) };
        HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("objects", $"/{kindName}/batch/create"), body, cancellationToken).ConfigureAwait(false);
        if (!answer.IsDone)
        {
            return Outcome.Refused(answer.Message);
        }

        answer.MustHave("results");
        return Outcome.Taken;
    }

    private async ValueTask<bool> HasNoteAsync(string contactId, string kindName, DateTimeOffset at, CancellationToken cancellationToken)
    {
        HubSpotAnswer linked = await _requests.PostAsync(_requests.Associations($"/contacts/{kindName}/batch/read"), new JsonObject { ["inputs"] = new JsonArray(new JsonObject { ["id"] = contactId }) }, cancellationToken).ConfigureAwait(false);
        linked.MustBeDone($"read the {kindName} of contacts");
        string[] newest = [.. linked.Array("results").SelectMany(result => result.GetProperty("to").EnumerateArray()).Select(to => to.GetProperty("toObjectId").GetInt64()).OrderDescending().Take(BatchLimit).Select(id => id.ToString(CultureInfo.InvariantCulture))];
        if (newest.Length == 0)
        {
            if (!linked.Array("results").Any())
            {
                linked.MustHave("errors"); // A silent no-op would make it twice.
            }

            return false;
        }

        var body = new JsonObject { ["inputs"] = new JsonArray([.. newest.Select(id => new JsonObject { ["id"] = id })]), ["properties"] = Json(["hs_timestamp"]) };
        HubSpotAnswer read = await _requests.PostAsync(_requests.Path("objects", $"/{kindName}/batch/read"), body, cancellationToken).ConfigureAwait(false);
        read.MustBeDone("read " + kindName);
        read.MustHave("results");
        return read.Array("results").Any(note => HubSpotRecords.Value(note, "hs_timestamp") is { } text && HubSpotDefinition.Instant(text) == at);
    }
}
