using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>Short words for the hand-computed tables.</summary>
internal static class OracleExample
{
    /// <summary>2026-01-01T00:00:00Z: the start of every bucket.</summary>
    public const long T0 = 1_767_225_600_000;

    public const long Second = 1_000, Minute = 60_000, Hour = 3_600_000, Day = 86_400_000;

    public static readonly IdentifierDefinition User = new() { Type = "user_id", Limit = 1 };
    public static readonly IdentifierDefinition Email = new() { Type = "email", Limit = 2, From = [["traits", "email"]], Normalize = IdentifierNormalization.Email };
    public static readonly IdentifierDefinition Device = new() { Type = "anonymous_id", Limit = 100 };

    public static CdpModel Model(params IReadOnlyList<IdentifierDefinition> identifiers) => new()
    {
        Text = "",
        Version = 0,
        Sources = [new("web", null, "website", false), new("crm", null, "crm", true)],
        Identifiers = identifiers.Count > 0 ? identifiers : [User, Email, Device],
    };

    public static CdpModel With(this CdpModel model, string segment, Expression when) =>
        model with { Segments = [.. model.Segments, new SegmentDefinition(segment, segment, when, 0)] };

    public static CdpModel With(this CdpModel model, TraitDefinition trait) => model with { Traits = [.. model.Traits, trait] };

    public static CdpModel Computing(this CdpModel model, string name, Expression value) =>
        model with { Computed = [.. model.Computed, new ComputedDefinition(name, value)] };

    public static OracleWorld World(CdpModel model, OracleClock clock = OracleClock.Wall) => new(model, clock, TimeSpan.FromHours(1));

    /// <summary>The JSON with ' for ", received at T0 + <paramref name="atMs"/>.</summary>
    public static OracleOutcome Send(this OracleWorld world, long atMs, string json, string source = "crm") =>
        world.Feed(new OracleEvent { Json = json.Replace('\'', '"'), ReceivedAtMs = T0 + atMs, SourceId = source });

    /// <summary>A track "A" of the identifiers, for example <c>u:1 d:x e:a@b.c</c>.</summary>
    public static OracleOutcome Track(this OracleWorld world, long atMs, string who, string more = "", string source = "crm")
    {
        string Of(string letter) => who.Split(' ').FirstOrDefault(part => part.StartsWith(letter + ":", StringComparison.Ordinal))?[2..] ?? "";
        return world.Send(atMs, $"{{'type':'track','event':'A','userId':'{Of("u")}','anonymousId':'{Of("d")}','traits':{{'email':'{Of("e")}'}}{(more.Length > 0 ? "," + more : "")}}}", source);
    }

    /// <summary>Who has an identifier, as text: all identifiers in order of joining.</summary>
    public static string Who(this OracleWorld world, string type, string value) =>
        world.Find(type, value) is { } person ? string.Join(' ', person.Identifiers.Select(id => $"{id.Type[0]}:{id.Value}")) : "nobody";

    public static string ChangesOf(OraclePerson person) =>
        string.Join(' ', person.Changes.Select(change => $"{(change.Entered ? '+' : '-')}{change.Segment}@{change.AtMs - T0}/{change.Cause ?? change.Reason.ToString().ToLowerInvariant()}"));

    public static FunctionExpression Happened(string e, long withinMs = 0) => new(EventFunction.Happened, [e], null, withinMs, null);

    public static FunctionExpression Count(string e, long withinMs = 0) => new(EventFunction.Count, [e], null, withinMs, null);

    public static FunctionExpression Of(EventFunction kind, string key, long withinMs = 0) => new(kind, ["*"], new PathExpression(PathRoot.Properties, [key]), withinMs, null);

    public static CompareExpression Is(Expression left, CompareOperator op, object? right) => new(op, left, new LiteralExpression(right));

    public static PathExpression Trait(params string[] path) => new(PathRoot.Traits, [.. path]);
}
