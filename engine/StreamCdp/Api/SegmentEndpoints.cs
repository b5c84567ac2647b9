using System.Text.Json;
using Microsoft.AspNetCore.Http.Features;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Api;

/// <summary>Segments and their members.</summary>
internal sealed class SegmentEndpoints(IEngineQueries queries, IReadOnlySet<string> types, ApiOptions options)
{
    private const int DefaultPreviewSeconds = 5;
    private const int MaxPreviewSeconds = 60;
    private const long MaxBodyBytes = 256 << 10;

    private static readonly SemaphoreSlim s_previews = new(1); // Of the process.
    private const int DefaultMembers = 100;

    /// <summary><c>GET /v1/segments</c>.</summary>
    public async Task<ApiProblem?> ListAsync(HttpContext context)
    {
        ApiProblem? problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        await ApiJson.WriteAsync(context, queries, static (json, queries) =>
        {
            json.WriteStartObject();
            json.WriteStartArray("segments"u8);
            foreach (SegmentStatus segment in queries.Segments())
            {
                Write(json, segment);
            }

            json.WriteEndArray();
            json.WriteStartArray("computed"u8);
            foreach (ComputedStatus computed in queries.Computed())
            {
                json.WriteStartObject();
                json.WriteString("name"u8, computed.Name);
                json.WriteString("value"u8, computed.Value);
                WriteExactness(json, computed.ExactSince, computed.NeedsBackfill);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        });
        return null;
    }

    /// <summary><c>GET /v1/segments/{id}</c>.</summary>
    public async Task<ApiProblem?> GetAsync(HttpContext context)
    {
        ApiProblem? problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        string id = ApiRequest.RawSegment(context, fromEnd: 1);
        SegmentStatus? segment = queries.Segments().FirstOrDefault(s => s.Id == id);
        if (segment is null)
        {
            return Unknown(id);
        }

        await ApiJson.WriteAsync(context, segment, Write);
        return null;
    }

    /// <summary><c>GET /v1/segments/{id}/members</c>.</summary>
    public async Task<ApiProblem?> MembersAsync(HttpContext context)
    {
        string id = ApiRequest.RawSegment(context, fromEnd: 2);
        string cursor = context.Request.Query["cursor"].ToString();
        if (!ApiRequest.TryNumber(context.Request, "limit", DefaultMembers, 1, ApiOptions.MaxMembersPage, out int limit, out ApiProblem? problem))
        {
            return problem;
        }

        problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        MembersPage? page;
        try
        {
            page = await queries.MembersAsync(id, cursor.Length == 0 ? null : cursor, limit, context.RequestAborted);
        }
        catch (FormatException)
        {
            return ApiProblem.BadRequest("bad_cursor", "The cursor is not one of this API; send the 'next' of the page before, unchanged, or none for the first page.");
        }

        if (page is null)
        {
            return Unknown(id);
        }

        await ApiJson.WriteAsync(context, page, static (json, page) =>
        {
            json.WriteStartObject();
            json.WriteStartArray("members"u8);
            foreach (SegmentMember member in page.Members)
            {
                json.WriteStartObject();
                json.WriteString("id"u8, member.Id);
                ApiJson.WriteTime(json, "since"u8, member.Since);
                json.WritePropertyName("identifiers"u8);
                member.Identifiers.WriteTo(json);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteString("next"u8, page.Next);
            json.WriteEndObject();
        });
        return null;
    }

    /// <summary><c>GET /v1/profiles/{identifier}/segments/{segment}</c>.</summary>
    public async Task<ApiProblem?> ExplainAsync(HttpContext context)
    {
        string id = ApiRequest.RawSegment(context, fromEnd: 1);
        if (!ApiRequest.TryIdentifier(ApiRequest.RawSegment(context, fromEnd: 3), types, out string type, out string value, out ApiProblem? problem))
        {
            return problem;
        }

        problem = await ApiRequest.WaitAsync(context, queries, options);
        if (problem is not null)
        {
            return problem;
        }

        if (!queries.Segments().Any(segment => segment.Id == id))
        {
            return Unknown(id);
        }

        if (await queries.ExplainAsync(type, value, id, context.RequestAborted) is not { } document)
        {
            return ApiProblem.NotFound("unknown_profile", "Nobody has this identifier, or the segment is new and waits for its backfill.");
        }

        context.Response.ContentType = "application/json";
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.Body.WriteAsync(document, context.RequestAborted);
        return null;
    }

    /// <summary><c>POST /v1/segments/preview</c>: how many people a rule would have.</summary>
    public async Task<ApiProblem?> PreviewAsync(HttpContext context)
    {
        LimitBody(context);
        string? when = null;
        string? id = null;
        try
        {
            using JsonDocument body = await JsonDocument.ParseAsync(context.Request.Body, default, context.RequestAborted);
            when = body.RootElement.TryGetProperty("when", out JsonElement text) ? text.GetString() : null;
            id = body.RootElement.TryGetProperty("segment", out JsonElement segment) ? segment.GetString() : null;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or BadHttpRequestException)
        {
            // Said below.
        }

        if (when is null)
        {
            return ApiProblem.BadRequest("bad_body", "The body is {\"when\":\"count(\\\"Order Completed\\\") > 3\"}, and may name the segment that would have the rule: \"segment\":\"big_spenders\".");
        }

        if (!ApiRequest.TryNumber(context.Request, "seconds", DefaultPreviewSeconds, 1, MaxPreviewSeconds, out int seconds, out ApiProblem? problem))
        {
            return problem;
        }

        ExpressionResult rule = await ReadAsync(context, when, queries.ServedModel);
        if (rule.Expression is null)
        {
            return Bad(rule);
        }

        return await TryRuleAsync(context, rule, id, seconds);
    }

    /// <summary>One at a time: each looks at every profile.</summary>
    private async Task<ApiProblem?> TryRuleAsync(HttpContext context, ExpressionResult rule, string? id, int seconds)
    {
        if (!await s_previews.WaitAsync(TimeSpan.FromSeconds(1), context.RequestAborted))
        {
            return new ApiProblem(StatusCodes.Status429TooManyRequests, "busy", "Another rule is being tried. Try again in some seconds.", MaxPreviewSeconds / 4);
        }

        try
        {
            await WritePreviewAsync(context, await queries.PreviewAsync(rule.Expression!, id, TimeSpan.FromSeconds(seconds), context.RequestAborted), rule.Notes);
            return null;
        }
        finally
        {
            s_previews.Release();
        }
    }

    private static void LimitBody(HttpContext context)
    {
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } most)
        {
            most.MaxRequestBodySize = MaxBodyBytes;
        }
    }

    private async Task<ExpressionResult> ReadAsync(HttpContext context, string when, CdpModel model) =>
        ExpressionReader.ReadCondition(when, model, "when", await queries.SchemaAsync(context.RequestAborted));

    private static ApiProblem Bad(ExpressionResult rule) => ApiProblem.BadRequest("bad_rule", string.Join(' ', rule.Errors.Take(5).Select(error => error.ToString())));

    private static void WriteNotes(Utf8JsonWriter json, IReadOnlyList<ModelNote> notes)
    {
        json.WriteStartArray("notes"u8);
        foreach (ModelNote note in notes)
        {
            json.WriteStringValue(note.ToString());
        }

        json.WriteEndArray();
    }

    private static Task WritePreviewAsync(HttpContext context, SegmentPreview found, IReadOnlyList<ModelNote> notes) =>
        ApiJson.WriteAsync(context, (found, notes), static (json, answer) =>
        {
            (SegmentPreview preview, IReadOnlyList<ModelNote> notes) = answer;
            json.WriteStartObject();
            json.WriteNumber("members"u8, preview.Members);
            json.WriteNumber("enter"u8, preview.Enter);
            json.WriteNumber("leave"u8, preview.Leave);
            json.WriteNumber("scanned"u8, preview.Scanned);
            json.WriteNumber("profiles"u8, preview.Profiles);
            json.WriteBoolean("is_sample"u8, !preview.IsWhole);
            json.WriteStartArray("sample"u8);
            foreach (string one in preview.Sample)
            {
                json.WriteStringValue(one);
            }

            json.WriteEndArray();
            json.WriteStartArray("leaves"u8);
            foreach (LeafCount leaf in preview.Leaves)
            {
                json.WriteStartObject();
                json.WriteString("text"u8, leaf.Text);
                json.WriteNumber("members"u8, leaf.Members);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("not_counted"u8);
            foreach (string function in preview.NotCounted)
            {
                json.WriteStringValue(function);
            }

            json.WriteEndArray();
            WriteNotes(json, notes);
            json.WriteEndObject();
        });

    /// <summary><c>PUT /v1/segments/{id}</c>.</summary>
    public async Task<ApiProblem?> PutAsync(HttpContext context)
    {
        LimitBody(context);
        string id = ApiRequest.RawSegment(context, fromEnd: 1);
        string? when = null;
        string? name = null;
        try
        {
            using JsonDocument body = await JsonDocument.ParseAsync(context.Request.Body, default, context.RequestAborted);
            when = body.RootElement.TryGetProperty("when", out JsonElement text) ? text.GetString() : null;
            name = body.RootElement.TryGetProperty("name", out JsonElement given) ? given.GetString() : null;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or BadHttpRequestException)
        {
            // Said below.
        }

        if (when is null || when.Length + (name?.Length ?? 0) > ApiSegments.MaxLength)
        {
            return ApiProblem.BadRequest("bad_body", $"The body is {{\"name\":\"Big spenders\",\"when\":\"count(\\\"Order Completed\\\") > 3\"}}, of at most {ApiSegments.MaxLength} characters.");
        }

        ExpressionResult rule = await ReadAsync(context, when, queries.Model);
        if (rule.Expression is null)
        {
            return Bad(rule);
        }

        if (context.Request.Query["dry_run"] == "true")
        {
            if (queries.Segments().FirstOrDefault(segment => segment.Id == id) is { IsOfApi: false })
            {
                return OfFile(id);
            }

            return await ReadAsync(context, when, queries.ServedModel) is { Expression: not null } served ? await TryRuleAsync(context, served, id, DefaultPreviewSeconds)
                : new ApiProblem(StatusCodes.Status409Conflict, "not_served_yet", "The rule uses what waits for its backfill (GET /v1/backfill). Try it when that is done.");
        }

        return await AnswerAsync(context, id, await queries.PutSegmentAsync(id, name, when, withHistory: context.Request.Query["backfill"] != "false", context.RequestAborted), rule.Notes);
    }

    /// <summary><c>DELETE /v1/segments/{id}</c>.</summary>
    public async Task<ApiProblem?> DeleteAsync(HttpContext context)
    {
        string id = ApiRequest.RawSegment(context, fromEnd: 1);
        return await AnswerAsync(context, id, await queries.DeleteSegmentAsync(id, context.RequestAborted), notes: []);
    }

    private async Task<ApiProblem?> AnswerAsync(HttpContext context, string id, SegmentEdit edit, IReadOnlyList<ModelNote> notes)
    {
        switch (edit.Outcome)
        {
            case SegmentEditOutcome.OfFile:
                return OfFile(id);
            case SegmentEditOutcome.Unknown:
                return Unknown(id);
            case SegmentEditOutcome.Refused:
                return ApiProblem.BadRequest("bad_segment", $"The model would be wrong: {edit.Error}");
        }

        if (queries.Segments().FirstOrDefault(segment => segment.Id == id) is { } written)
        {
            await ApiJson.WriteAsync(context, (written, notes), static (json, answer) => Write(json, answer.written, answer.notes));
        }
        else
        {
            context.Response.StatusCode = StatusCodes.Status204NoContent;
        }

        return null;
    }

    private static ApiProblem OfFile(string id) => new(StatusCodes.Status409Conflict, "segment_of_file", $"'{id}' stands in cdp.yaml, under segments, and is changed there.");

    /// <summary><c>GET /v1/model</c>: one cdp.yaml of the file and of what the API wrote.</summary>
    public async Task<ApiProblem?> ModelAsync(HttpContext context)
    {
        context.Response.ContentType = "application/yaml";
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.WriteAsync(ApiSegments.Export(queries.Model), context.RequestAborted);
        return null;
    }

    /// <summary><c>GET /v1/schema</c>: names, properties, traits and their types, as events brought them.</summary>
    public async Task<ApiProblem?> SchemaAsync(HttpContext context)
    {
        if (await ApiRequest.WaitAsync(context, queries, options) is { } problem)
        {
            return problem;
        }

        SeenSchema schema = await queries.SchemaAsync(context.RequestAborted);
        if (context.Request.Query["event"].ToString() is { Length: > 0 } name)
        {
            schema = schema with { Events = [.. schema.Events.Where(e => e.Name == name)], Traits = [], Context = [] };
            if (schema.Events.Count == 0)
            {
                return ApiProblem.NotFound("unknown_event", "No event of this name has come; GET /v1/schema lists all that have.");
            }
        }

        context.Response.ContentType = "application/json";
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.Body.WriteAsync(schema.ToJson(), context.RequestAborted);
        return null;
    }

    /// <summary><c>GET /v1/backfill</c>.</summary>
    public async Task<ApiProblem?> BackfillAsync(HttpContext context)
    {
        await ApiJson.WriteAsync(context, queries, static (json, queries) => WriteBackfill(json, queries, begun: null));
        return null;
    }

    /// <summary><c>POST /v1/backfill</c>: counts history for the named segments, or for all that need it.</summary>
    public async Task<ApiProblem?> StartBackfillAsync(HttpContext context)
    {
        string[]? segments = null;
        LimitBody(context);
        if (context.Request.ContentLength is not 0)
        {
            try
            {
                using JsonDocument body = await JsonDocument.ParseAsync(context.Request.Body, default, context.RequestAborted);
                segments = body.RootElement.TryGetProperty("segments", out JsonElement ids) ? [.. ids.EnumerateArray().Select(id => id.GetString() ?? "")] : null;
            }
            catch (Exception exception) when (exception is JsonException or InvalidOperationException or BadHttpRequestException)
            {
                return ApiProblem.BadRequest("bad_body", "The body is {\"segments\":[\"big_spenders\"]}, or {} for all that need it.");
            }
        }

        HashSet<string> known = [.. queries.Model.Segments.Select(segment => segment.Id), .. segments is null ? [] : queries.Segments().Select(segment => segment.Id)];
        if (segments?.FirstOrDefault(id => !known.Contains(id)) is { } unknown)
        {
            return Unknown(unknown);
        }

        bool begun = await queries.TryBackfillAsync(segments);
        await ApiJson.WriteAsync(context, (queries, begun), static (json, state) => WriteBackfill(json, state.queries, state.begun));
        return null;
    }

    private static void WriteBackfill(Utf8JsonWriter json, IEngineQueries queries, bool? begun)
    {
        json.WriteStartObject();
        if (begun is bool isBegun)
        {
            json.WriteBoolean("begun"u8, isBegun);
        }

        if (queries.Backfill() is not { } backfill)
        {
            json.WriteNull("backfill"u8);
        }
        else
        {
            json.WriteStartObject("backfill"u8);
            json.WriteNumber("id"u8, backfill.Id);
            json.WriteString("phase"u8, backfill.Phase);
            json.WriteNumber("done"u8, Math.Round(backfill.Done, 4));
            json.WriteStartArray("names"u8);
            foreach (string name in backfill.Names)
            {
                json.WriteStringValue(name);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    /// <summary>404 for a segment that the model lacks.</summary>
    public static ApiProblem Unknown(string id) => ApiProblem.NotFound("unknown_segment", $"The model has no segment '{id}'; GET /v1/segments lists them.");

    private static void Write(Utf8JsonWriter json, SegmentStatus segment) => Write(json, segment, notes: null);

    private static void Write(Utf8JsonWriter json, SegmentStatus segment, IReadOnlyList<ModelNote>? notes)
    {
        json.WriteStartObject();
        json.WriteString("id"u8, segment.Id);
        json.WriteString("name"u8, segment.Name);
        json.WriteString("when"u8, segment.When);
        json.WriteString("version"u8, segment.Version);
        json.WriteString("origin"u8, segment.IsOfApi ? "api"u8 : "file"u8);
        json.WriteString("served_version"u8, segment.ServedVersion);
        json.WriteString("state"u8, segment.Progress is not null ? "backfilling"u8 : segment.NeedsBackfill ? "partial"u8 : segment.ServedVersion == segment.Version ? "live"u8 : "switching"u8);
        if (segment.Progress is double progress)
        {
            json.WriteNumber("progress"u8, Math.Round(progress, 4));
        }
        else
        {
            json.WriteNull("progress"u8);
        }

        json.WriteNumber("members"u8, segment.Members);
        WriteExactness(json, segment.ExactSince, segment.NeedsBackfill);
        if (notes is not null)
        {
            WriteNotes(json, notes);
        }

        json.WriteEndObject();
    }

    private static void WriteExactness(Utf8JsonWriter json, long exactSince, bool needsBackfill)
    {
        if (exactSince == 0)
        {
            json.WriteNull("exact_since"u8);
        }
        else
        {
            ApiJson.WriteTime(json, "exact_since"u8, exactSince);
        }

        json.WriteBoolean("needs_backfill"u8, needsBackfill);
    }
}
