using System.Text.Json;
using StreamCdp.Connectors;

namespace StreamCdp.Api;

/// <summary>The destinations: how each is, and pausing and resuming it. No secret is in an answer.</summary>
internal sealed class ConnectorEndpoints(ConnectorHost? connectors)
{
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
}
