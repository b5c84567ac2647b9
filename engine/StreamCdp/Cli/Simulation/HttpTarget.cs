using System.Net;
using System.Net.Http.Headers;
using System.Text;

namespace StreamCdp.Cli.Simulation;

/// <summary>Calls as SDKs make them.</summary>
/// <param name="http">Client to use; not disposed here.</param>
/// <param name="server">Base address.</param>
internal sealed class HttpTarget(HttpClient http, Uri server) : IShopTarget
{
    /// <inheritdoc/>
    public bool SetsReceivedAt => false;

    /// <inheritdoc/>
    public async Task<CallResult> SendAsync(ShopCall call)
    {
        try
        {
            using HttpRequestMessage request = Request(call);
            using HttpResponseMessage response = await http.SendAsync(request, HttpCompletionOption.ResponseContentRead, CancellationToken.None).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
            {
                return new CallResult(CallOutcome.Acknowledged);
            }

            string problem = $"{call.Path} answered {(int)response.StatusCode}";
            return response.StatusCode is not HttpStatusCode.TooManyRequests && (int)response.StatusCode < 500
                ? new CallResult(CallOutcome.GivenUp, problem)
                : new CallResult(CallOutcome.TryAgain, problem, response.Headers.RetryAfter?.Delta);
        }
        catch (HttpRequestException exception)
        {
            return new CallResult(CallOutcome.TryAgain, exception.Message);
        }
        catch (TaskCanceledException)
        {
            return new CallResult(CallOutcome.TryAgain, $"{call.Path} did not answer in time");
        }
    }

    private HttpRequestMessage Request(ShopCall call)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, new Uri(server, call.Path)) { Content = new ReadOnlyMemoryContent(call.Body) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        if (call.KeyPlace == KeyPlace.Basic)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(call.Source.WriteKey + ":")));
        }
        else if (call.KeyPlace == KeyPlace.Header)
        {
            request.Headers.Add("X-Write-Key", call.Source.WriteKey);
        }

        return request;
    }
}
