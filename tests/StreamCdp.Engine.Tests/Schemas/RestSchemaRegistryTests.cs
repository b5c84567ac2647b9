using System.Net;
using System.Text;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

public sealed class RestSchemaRegistryTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Registering_posts_the_schema_with_login_and_media_type()
    {
        using var server = new Server((HttpStatusCode.OK, """{"id":42}"""));
        using RestSchemaRegistry registry = Registry(server);

        Assert.Equal(42, await registry.RegisterAsync("a/b-value", "\"string\"", Cancel));
        Assert.Equal("POST http://registry/base/subjects/a%2Fb-value/versions Basic dTpww7w= application/vnd.schemaregistry.v1+json {\"schema\":\"\\u0022string\\u0022\"}", Assert.Single(server.Requests));
    }

    [Fact]
    public async Task A_registry_that_is_away_for_a_moment_is_asked_again()
    {
        using var server = new Server((HttpStatusCode.ServiceUnavailable, ""), (HttpStatusCode.TooManyRequests, "{}"), (null, ""), (HttpStatusCode.OK, """{"schema":"\"string\""}"""));
        using RestSchemaRegistry registry = Registry(server);

        Assert.Equal("\"string\"", await registry.GetByIdAsync(7, Cancel));
        Assert.Equal(4, server.Requests.Count);
    }

    [Fact]
    public async Task After_the_retries_the_message_says_where_and_why()
    {
        using var server = new Server([.. Enumerable.Repeat(((HttpStatusCode?)HttpStatusCode.BadGateway, ""), 5)]);
        using RestSchemaRegistry registry = Registry(server);

        var away = await Assert.ThrowsAsync<SchemaRegistryException>(() => registry.GetByIdAsync(7, Cancel));
        Assert.Contains("http://registry/base/ did not answer GET schemas/ids/7 in 5 attempts: It answered 502.", away.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("pü", away.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(HttpStatusCode.Unauthorized, "", "User and :Password")]
    [InlineData(HttpStatusCode.Conflict, """{"error_code":409,"message":"incompatible"}""", "(incompatible). The subject holds another schema")]
    [InlineData(HttpStatusCode.NotFound, "<html>", "base address of Confluent's API")]
    [InlineData(HttpStatusCode.OK, "<html>", "base address of Confluent's API")]
    [InlineData(HttpStatusCode.OK, "{}", "gave no id")]
    public async Task A_refusal_is_not_repeated_and_says_what_to_do(HttpStatusCode status, string body, string expected)
    {
        using var server = new Server((status, body));
        using RestSchemaRegistry registry = Registry(server);

        var refused = await Assert.ThrowsAsync<SchemaRegistryException>(() => registry.RegisterAsync("s", "\"string\"", Cancel));
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        Assert.Single(server.Requests);
    }

    [Fact]
    public async Task An_unknown_id_is_null()
    {
        using var server = new Server((HttpStatusCode.NotFound, """{"error_code":40403,"message":"Schema not found"}"""));
        using RestSchemaRegistry registry = Registry(server);

        Assert.Null(await registry.GetByIdAsync(7, Cancel));
    }

    [Fact]
    public void Wrong_options_are_all_named()
    {
        var options = new SchemaRegistryOptions { Url = "registry:8081", Password = "p", CaFile = "/nowhere.pem", Timeout = TimeSpan.Zero, Retries = -1, RetryDelay = TimeSpan.FromHours(1) };

        Assert.Equal(["Url", "Password", "CaFile", "Timeout", "Retries", "RetryDelay"], options.Errors().Select(error => error.Split(' ')[0].Split(':')[^1]));
        Assert.Empty(new SchemaRegistryOptions().Errors());
        Assert.Throws<ArgumentException>(() => new RestSchemaRegistry(new SchemaRegistryOptions()));
    }

    private static RestSchemaRegistry Registry(Server server) =>
        new(new SchemaRegistryOptions { Url = "http://registry/base", User = "u", Password = "pü", RetryDelay = TimeSpan.Zero }, server);

    /// <summary>Answers in turn; a status of null is a broken connection.</summary>
    private sealed class Server(params (HttpStatusCode? Status, string Body)[] answers) : HttpMessageHandler
    {
        public List<string> Requests { get; } = [];

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            (HttpStatusCode? status, string body) = answers[Requests.Count];
            string sent = request.Content is null ? "" : $"{request.Content.Headers.ContentType} {await request.Content.ReadAsStringAsync(cancellationToken)}";
            Requests.Add($"{request.Method} {request.RequestUri!.AbsoluteUri} {request.Headers.Authorization} {sent}");
            return status is { } code
                ? new HttpResponseMessage(code) { Content = new StringContent(body, Encoding.UTF8, "application/json") }
                : throw new HttpRequestException("The connection broke.");
        }
    }
}
