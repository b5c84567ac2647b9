using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Actions;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

public sealed partial class HubSpotCrm : ICrmNotes
{
    /// <inheritdoc/>
    public IReadOnlyList<string> NoteKinds { get; } = ["note", "task"];

    /// <inheritdoc/>
    /// <remarks>
    /// Its time is the change's, moved by less than a second by its key: by that it is found among the contact's newest hundred. It is made with its link in one request, so one whose answer was lost is found,
    /// too. It carries an id of StreamCdp, so that it is not taken for something that sales did.
    /// </remarks>
    public async ValueTask<Outcome> AddNoteAsync(string key, string contactId, string kind, string subject, string text, DateTimeOffset at, CancellationToken cancellationToken)
    {
        bool isTask = kind == "task";
        HubSpotActivity activity = HubSpotActivity.Of(kind);
        string kindName = activity.KindName;
        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes(key));
        at = DateTimeOffset.FromUnixTimeMilliseconds(at.ToUnixTimeMilliseconds() + (BinaryPrimitives.ReadUInt16LittleEndian(hash) % 1000));
        if (await HasNoteAsync(contactId, kindName, at, cancellationToken).ConfigureAwait(false))
        {
            return Outcome.Taken;
        }

        var properties = new JsonObject { ["hs_timestamp"] = at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture) };
        if (await CanBeMarkedAsync(activity, cancellationToken).ConfigureAwait(false))
        {
            properties[_options.IdProperty] = Convert.ToHexStringLower(hash.AsSpan(0, 16));
        }

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
            ["types"] = new JsonArray(new JsonObject { ["associationCategory"] = "HUBSPOT_DEFINED", ["associationTypeId"] = activity.ToContact }),
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

    /// <summary>Makes the property that holds StreamCdp's id where it is missing. Where the account does not let us, what is made has no mark, unless such activities are read.</summary>
    private async ValueTask<bool> CanBeMarkedAsync(HubSpotActivity activity, CancellationToken cancellationToken)
    {
        SortedDictionary<string, HubSpotDefinition> known = await _definitions.PropertiesAsync(activity.KindName, [], cancellationToken).ConfigureAwait(false);
        if (known.ContainsKey(_options.IdProperty))
        {
            return true;
        }

        JsonObject definition = Definition(known.GetValueOrDefault(HubSpotActivity.At)?.Group ?? "", new CrmField(_options.IdProperty, CrmFieldType.Text, IsReadOnly: false));
        definition.Remove("hasUniqueValue"); // It only says whose it is.
        try
        {
            HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("properties", "/" + activity.KindName), definition, cancellationToken).ConfigureAwait(false);
            if (answer.Status != 409)
            {
                answer.MustBeDone($"make the property {_options.IdProperty} of {activity.KindName}");
            }
        }
        catch (DestinationMustPauseException) when (!_activities.Contains(activity))
        {
            return false;
        }

        _definitions.Forget(activity.KindName);
        return true;
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
