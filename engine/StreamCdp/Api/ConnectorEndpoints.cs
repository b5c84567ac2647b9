using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http.Features;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Actions;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Api;

/// <summary>The destinations: how each is, pausing and resuming it, and what a CRM's sync would do. No secret is in an answer.</summary>
internal sealed class ConnectorEndpoints(ConnectorHost? connectors)
{
    private const int MaxPlanLines = 100;
    private const int DefaultConflicts = 100;
    private const int MaxConflicts = 500;
    private const long MaxPlanBytes = 16 << 20;
    private const long MaxWholePlanBytes = 1L << 30;
    private const string NoConflicts = "is no CRM: it goes one way, so there is nothing that both sides could change.";

    /// <summary><c>GET /v1/connectors</c>.</summary>
    public async Task<ApiProblem?> ListAsync(HttpContext context)
    {
        await ApiJson.WriteAsync(context, connectors?.Statuses() ?? [], static (json, statuses) =>
        {
            json.WriteStartObject();
            json.WriteStartArray("connectors"u8);
            foreach (DeliveryStatus status in statuses)
            {
                Write(json, status);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        });
        return null;
    }

    /// <summary><c>POST /v1/connectors/{id}/pause</c>.</summary>
    public Task<ApiProblem?> PauseAsync(HttpContext context) => ChangeAsync(context, (host, id) => host.TryPause(id, "Somebody paused it by the API; resume it to go on."));

    /// <summary><c>POST /v1/connectors/{id}/resume</c>.</summary>
    public Task<ApiProblem?> ResumeAsync(HttpContext context) => ChangeAsync(context, (host, id) => host.TryResume(id));

    /// <summary><c>GET /v1/connectors/{id}/conflicts</c>: the newest first, page by page.</summary>
    public async Task<ApiProblem?> ConflictsAsync(HttpContext context)
    {
        if (!ApiRequest.TryNumber(context.Request, "limit", DefaultConflicts, 1, MaxConflicts, out int limit, out ApiProblem? problem) || !TryCrm(context, NoConflicts, out CrmConnection? crm, out problem))
        {
            return problem;
        }

        string cursor = context.Request.Query["cursor"].ToString();
        long before = long.MaxValue;
        if (cursor.Length > 0 && (!long.TryParse(cursor, NumberStyles.None, CultureInfo.InvariantCulture, out before) || before == 0))
        {
            return ApiProblem.BadRequest("bad_cursor", "The cursor is not one of this API; send the 'next' of the page before, unchanged, or none for the first page.");
        }

        try
        {
            await ApiJson.WriteAsync(context, (Page: crm.Conflicts(before, limit), limit), static (json, answer) =>
            {
                json.WriteStartObject();
                json.WriteStartArray("conflicts"u8);
                foreach ((_, CrmConflict conflict) in answer.Page)
                {
                    json.WriteStartObject();
                    ApiJson.WriteTime(json, "at"u8, conflict.At.ToUnixTimeMilliseconds());
                    json.WriteString("object"u8, conflict.Kind.ToString().ToLowerInvariant());
                    json.WriteString("id"u8, conflict.Id);
                    json.WriteString("field"u8, conflict.Field);
                    json.WritePropertyName("kept"u8);
                    json.WriteRawValue(conflict.Kept ?? "null");
                    json.WritePropertyName("lost"u8);
                    json.WriteRawValue(conflict.Lost ?? "null");
                    json.WriteEndObject();
                }

                json.WriteEndArray();
                json.WriteString("next"u8, answer.Page.Count < answer.limit ? null : answer.Page[^1].Number.ToString(CultureInfo.InvariantCulture));
                json.WriteEndObject();
            });
            return null;
        }
        catch (Exception exception) when (exception is InvalidDataException or IOException)
        {
            return new ApiProblem(StatusCodes.Status503ServiceUnavailable, "not_now", exception.Message, 5);
        }
    }

    /// <summary><c>POST /v1/connectors/{id}/plan</c>: one JSON document a line, as they are found: a head, the changes, and their number or what went wrong.</summary>
    public async Task<ApiProblem?> PlanAsync(HttpContext context)
    {
        if (!ApiRequest.TryNumber(context.Request, "limit", int.MaxValue, 1, int.MaxValue, out int limit, out ApiProblem? problem))
        {
            return problem;
        }

        if (connectors?.Delivery(ApiRequest.RawSegment(context, fromEnd: 2)) is { } delivery)
        {
            PlanHead head;
            try
            {
                head = await delivery.PlanHeadAsync(context.RequestAborted);
            }
            catch (Exception exception) when (exception is TimeoutException or LogUnavailableException or InvalidDataException)
            {
                return new ApiProblem(StatusCodes.Status503ServiceUnavailable, "not_now", exception.Message, 5);
            }

            var ofDelivery = new DeliveryCounts();
            await WritePlanAsync(context, head, token => delivery.PlanAsync(head, token), ChangeJson.Bytes, ofDelivery.Add, isComplete => JsonSerializer.SerializeToNode(ofDelivery with { IsComplete = isComplete }, PlanJson.Default.DeliveryCounts), limit);
            return null;
        }

        if (connectors?.Actions(ApiRequest.RawSegment(context, fromEnd: 2)) is { } actions)
        {
            PlanHead head = actions.PlanHead();
            var ofActions = new ActionCounts();
            await WritePlanAsync(context, head, actions.PlanAsync, line => line.ToJson(), line => ofActions.Add(line, head.MadeAt), isComplete => JsonSerializer.SerializeToNode(ofActions with { IsComplete = isComplete }, ActionPlanJson.Default.ActionCounts), limit);
            return null;
        }

        if (!TryCrm(context, "", out CrmConnection? crm, out problem)) // Of all others there was one above.
        {
            return problem;
        }

        var counts = new PlanCounts();
        await WritePlanAsync(context, crm.PlanHead(), crm.PlanAsync, line => line.ToJson(), counts.Add, isComplete => JsonSerializer.SerializeToNode(counts with { IsComplete = isComplete }, PlanJson.Default.PlanCounts), limit);
        return null;
    }

    private static async Task WritePlanAsync<T>(HttpContext context, PlanHead head, Func<CancellationToken, IAsyncEnumerable<T>> lines, Func<T, byte[]> json, Action<T> count, Func<bool, JsonNode?> counts, int limit)
    {
        context.Response.ContentType = "application/x-ndjson";
        context.Response.Headers.CacheControl = "no-store";
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await WriteLineAsync(context, JsonSerializer.SerializeToUtf8Bytes(new JsonObject { ["plan"] = JsonSerializer.SerializeToNode(head, PlanJson.Default.PlanHead) }), digest);
        CancellationToken stopping = context.RequestServices.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
        using var until = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
        JsonObject last;
        try
        {
            bool isComplete = true;
            await foreach (T line in lines(until.Token).WithCancellation(until.Token))
            {
                if (limit-- == 0)
                {
                    isComplete = false;
                    break;
                }

                count(line);
                await WriteLineAsync(context, json(line), digest);
            }

            last = new JsonObject { ["counts"] = counts(isComplete), ["digest"] = Convert.ToHexStringLower(digest.GetCurrentHash()) };
        }
        catch (Exception exception) when (exception is DestinationUnavailableException or DestinationMustPauseException or InvalidDataException or TimeoutException or LogBehindException or LogUnavailableException)
        {
            last = new JsonObject { ["error"] = exception.Message };
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested && !context.RequestAborted.IsCancellationRequested)
        {
            last = new JsonObject { ["error"] = "The server stops. Make the plan again when it runs." };
        }

        await WriteLineAsync(context, JsonSerializer.SerializeToUtf8Bytes(last), digest);
    }

    /// <summary><c>POST /v1/connectors/{id}/apply</c>: of a CRM or of actions the head of a plan and up to 100 of its lines, of what goes one way the whole plan.</summary>
    public async Task<ApiProblem?> ApplyAsync(HttpContext context)
    {
        if (connectors?.Delivery(ApiRequest.RawSegment(context, fromEnd: 2)) is { } delivery)
        {
            return await ApplyWholeAsync(context, delivery);
        }

        if (connectors?.Actions(ApiRequest.RawSegment(context, fromEnd: 2)) is { } actions)
        {
            return await ApplyLinesAsync(context, actions.PlanHead(), bytes => ActionPlanLine.Parse(bytes), line => line.IsWhole, actions.ApplyAsync);
        }

        return TryCrm(context, "", out CrmConnection? crm, out ApiProblem? problem) ? await ApplyLinesAsync(context, crm.PlanHead(), bytes => PlanLine.Parse(bytes), line => line.IsWhole, crm.ApplyAsync) : problem;
    }

    private static async Task<ApiProblem?> ApplyLinesAsync<T>(HttpContext context, PlanHead now, Func<byte[], T> parse, Predicate<T> isWhole, Func<IReadOnlyList<T>, CancellationToken, Task<(IReadOnlyList<string?> Why, long Refused)>> apply)
    {
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } most)
        {
            most.MaxRequestBodySize = MaxPlanBytes;
        }

        PlanHead? head = null;
        List<T> lines = [];
        using var reader = new StreamReader(context.Request.Body);
        try
        {
            while (await reader.ReadLineAsync(context.RequestAborted) is { } text)
            {
                if (text.Length == 0)
                {
                    continue;
                }

                if (head is null)
                {
                    head = JsonNode.Parse(text)?["plan"]?.Deserialize(PlanJson.Default.PlanHead) ?? throw new JsonException();
                    continue;
                }

                lines.Add(parse(Encoding.UTF8.GetBytes(text)));
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            head = null;
        }

        if (head is null || lines.Count is 0 or > MaxPlanLines || !lines.TrueForAll(isWhole))
        {
            return ApiProblem.BadRequest("bad_plan", $"The body must be the first line of a plan and 1 to {MaxPlanLines} of its changes, each on a line of its own and unchanged.");
        }

        if (head.Connector != now.Connector || head.Mapping != now.Mapping)
        {
            return new ApiProblem(StatusCodes.Status409Conflict, "other_plan", $"The plan was made for {head.Connector} with another mapping than it has now. Make a new plan.");
        }

        try
        {
            (IReadOnlyList<string?> why, long refused) = await apply(lines, context.RequestAborted);
            await ApiJson.WriteAsync(context, (why, refused), static (json, result) =>
            {
                json.WriteStartObject();
                json.WriteNumber("applied"u8, result.why.Count(one => one is null));
                json.WriteNumber("refused"u8, result.refused);
                json.WriteStartArray("not_applied"u8);
                for (int i = 0; i < result.why.Count; i++)
                {
                    if (result.why[i] is { } reason)
                    {
                        json.WriteStartObject();
                        json.WriteNumber("line"u8, i + 1);
                        json.WriteString("why"u8, reason);
                        json.WriteEndObject();
                    }
                }

                json.WriteEndArray();
                json.WriteEndObject();
            });
            return null;
        }
        catch (Exception exception) when (exception is DestinationUnavailableException or DestinationMustPauseException or TimeoutException or InvalidDataException)
        {
            int seconds = exception is DestinationUnavailableException { RetryAfter: { } wish } ? (int)Math.Ceiling(wish.TotalSeconds) : 5;
            return new ApiProblem(StatusCodes.Status503ServiceUnavailable, "not_now", $"{exception.Message} Some of these lines may be done; apply them again: what is done is not done twice.", seconds);
        }
    }

    /// <summary>Of what goes one way a plan is applied whole: its last line says what the others were.</summary>
    private static async Task<ApiProblem?> ApplyWholeAsync(HttpContext context, Delivery delivery)
    {
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } most)
        {
            most.MaxRequestBodySize = MaxWholePlanBytes;
        }

        PlanHead? head = null;
        JsonObject? end = null;
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        string whole = "";
        using var reader = new StreamReader(context.Request.Body);
        try
        {
            while (await reader.ReadLineAsync(context.RequestAborted) is { } text)
            {
                if (end is not null && text.Length > 0)
                {
                    throw new JsonException(); // Something stands behind the end.
                }

                head ??= JsonNode.Parse(text)?["plan"]?.Deserialize(PlanJson.Default.PlanHead) ?? throw new JsonException();
                if (text.StartsWith("{\"counts\":", StringComparison.Ordinal))
                {
                    whole = Convert.ToHexStringLower(digest.GetCurrentHash());
                    end = JsonNode.Parse(text)!.AsObject();
                }

                digest.AppendData(Encoding.UTF8.GetBytes(text + "\n"));
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            head = null;
        }

        if (head?.Until is not { Memberships: not null, Profiles: not null } || end is null || (string?)end["digest"] != whole)
        {
            return ApiProblem.BadRequest("bad_plan", "The body must be a whole plan, as it was written: of a destination that goes one way no line can be taken out. Make a new plan.");
        }

        if ((bool?)end["counts"]?["is_complete"] != true)
        {
            return ApiProblem.BadRequest("bad_plan", "The plan was cut off by its limit, so it does not say what would be sent. Make one without a limit.");
        }

        PlanStart start = head.Connector == delivery.Id ? delivery.Apply(head) : PlanStart.Moved;
        (string? code, string message) = start switch
        {
            PlanStart.Moved => ("other_plan", $"The plan is not of now: it is of another destination or mapping, or {delivery.Id} has sent something since. Make a new plan."),
            PlanStart.NotPaused => ("not_paused", $"{delivery.Id} is not paused, so it sends what waits by itself. To send exactly a plan, pause it first: streamcdp connectors --pause {delivery.Id}; then make a new plan."),
            PlanStart.Stopped => ("stopped", $"{delivery.Id} is stopped: streamcdp connectors says why, and what to do."),
            _ => ((string?)null, ""),
        };
        if (code is not null)
        {
            return new ApiProblem(StatusCodes.Status409Conflict, code, message);
        }

        await ApiJson.WriteAsync(context, (IsBegun: start == PlanStart.Begun, Changes: (long?)end["counts"]?["changes"] ?? 0), static (json, answer) =>
        {
            json.WriteStartObject();
            json.WriteBoolean("begun"u8, answer.IsBegun);
            json.WriteNumber("changes"u8, answer.IsBegun ? answer.Changes : 0);
            json.WriteEndObject();
        });
        return null;
    }

    private bool TryCrm(HttpContext context, string other, [NotNullWhen(true)] out CrmConnection? crm, [NotNullWhen(false)] out ApiProblem? problem)
    {
        string id = ApiRequest.RawSegment(context, fromEnd: 2);
        crm = connectors?.Crm(id);
        problem = crm is not null ? null
            : connectors?.Status(id) is not null ? new ApiProblem(StatusCodes.Status409Conflict, "no_crm", $"'{id}' {other}")
            : ApiProblem.NotFound("unknown_connector", $"This server has no connector '{id}'; GET /v1/connectors lists them.");
        return crm is not null;
    }

    private static ValueTask WriteLineAsync(HttpContext context, byte[] line, IncrementalHash digest)
    {
        byte[] whole = [.. line, (byte)'\n'];
        digest.AppendData(whole);
        return context.Response.Body.WriteAsync(whole, context.RequestAborted);
    }

    private async Task<ApiProblem?> ChangeAsync(HttpContext context, Func<ConnectorHost, string, bool> change)
    {
        string id = ApiRequest.RawSegment(context, fromEnd: 2);
        if (connectors is null || !change(connectors, id) || connectors.Status(id) is not { } status)
        {
            return ApiProblem.NotFound("unknown_connector", $"This server has no connector '{id}'; GET /v1/connectors lists them.");
        }

        await ApiJson.WriteAsync(context, status, Write);
        return null;
    }

    private static void Write(Utf8JsonWriter json, DeliveryStatus status)
    {
        json.WriteStartObject();
        json.WriteString("id"u8, status.Id);
        json.WriteString("kind"u8, status.Kind);
        json.WriteString("direction"u8, status.IsCrm ? "both"u8 : "out"u8);
        json.WriteString("target"u8, status.Target);
        json.WriteString("state"u8, status.State switch
        {
            DeliveryState.Running => "running"u8,
            DeliveryState.Waiting => "waiting"u8,
            DeliveryState.Paused => "paused"u8,
            _ => "stopped"u8,
        });
        json.WriteString("reason"u8, status.Reason);
        json.WriteNumber("lag_records"u8, status.LagRecords);
        json.WriteNumber("lag_seconds"u8, status.LagSeconds);
        if (status.LagInSeconds is double lagIn)
        {
            json.WriteNumber("lag_in_seconds"u8, lagIn);
        }
        else
        {
            json.WriteNull("lag_in_seconds"u8);
        }

        json.WriteNumber("budget_left"u8, status.BudgetLeft);
        json.WriteNumber("requests"u8, status.Requests);
        json.WriteNumber("taken"u8, status.Taken);
        json.WriteNumber("dead_letters"u8, status.DeadLetters);
        json.WriteNumber("retries"u8, status.Retries);
        WriteOptional(json, "conflicts"u8, status.Conflicts);
        WriteOptional(json, "deleted_today"u8, status.DeletedToday);
        json.WriteString("last_error"u8, status.LastError);
        if (status.LastErrorAt is DateTimeOffset at)
        {
            ApiJson.WriteTime(json, "last_error_at"u8, at.ToUnixTimeMilliseconds());
        }
        else
        {
            json.WriteNull("last_error_at"u8);
        }

        json.WriteEndObject();
    }

    private static void WriteOptional(Utf8JsonWriter json, ReadOnlySpan<byte> name, long? number)
    {
        if (number is long value)
        {
            json.WriteNumber(name, value);
        }
        else
        {
            json.WriteNull(name);
        }
    }
}
