using System.Text.Json;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Api;

/// <summary>Segments and their members.</summary>
internal sealed class SegmentEndpoints(IEngineQueries queries, ApiOptions options)
{
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
        if (context.Request.ContentLength is not 0)
        {
            try
            {
                using JsonDocument body = await JsonDocument.ParseAsync(context.Request.Body, default, context.RequestAborted);
                segments = body.RootElement.TryGetProperty("segments", out JsonElement ids) ? [.. ids.EnumerateArray().Select(id => id.GetString() ?? "")] : null;
            }
            catch (Exception exception) when (exception is JsonException or InvalidOperationException)
            {
                return ApiProblem.BadRequest("bad_body", "The body is {\"segments\":[\"big_spenders\"]}, or {} for all that need it.");
            }
        }

        foreach (string id in segments ?? [])
        {
            if (!queries.Segments().Any(segment => segment.Id == id))
            {
                return Unknown(id);
            }
        }

        bool begun = queries.TryBackfill(segments);
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

    private static void Write(Utf8JsonWriter json, SegmentStatus segment)
    {
        json.WriteStartObject();
        json.WriteString("id"u8, segment.Id);
        json.WriteString("name"u8, segment.Name);
        json.WriteString("when"u8, segment.When);
        json.WriteString("version"u8, segment.Version);
        json.WriteString("served_version"u8, segment.ServedVersion);
        json.WriteString("state"u8, segment.Progress is not null ? "backfilling"u8 : segment.NeedsBackfill ? "partial"u8 : "live"u8);
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
