using CsCheck;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public sealed class ExpressionTextTests
{
    private static readonly Gen<string> Key = Gen.Frequency(
        (4, Gen.OneOf<string>("a", "email", "first name", "größe", "2fa", "utm-source", "type", "event", "and", "within", "count", "deals", "$x", "", "a\"b\\c", "\u0001\u2028", "😀", "\ud800")),
        (1, Gen.String));

    private static readonly Gen<LiteralExpression> Literal = Gen.OneOf<object?>(
        Gen.OneOf<object?>([null, true, false]),
        Gen.Double.Where(double.IsFinite).Select(value => (object?)value),
        Gen.OneOf<double>(0.0, -0.5, 1e300, 12345678901234567890.0, 5e-324).Select(value => (object?)value),
        Key.Select(value => (object?)value)).Select(value => new LiteralExpression(value));

    private static readonly Gen<long> Window = Gen.OneOf<long>(
        Gen.Long[1, 3650L * 86400].Select(seconds => seconds * 1000), Gen.Long[1, 3650].Select(days => days * 86_400_000), Gen.Long[1, 100].Select(hours => hours * 3_600_000));

    private static readonly Gen<Expression> Profile = Condition(depth: 4, Operand(Gen.OneOf<Expression>(
        Path(PathRoot.Traits, 3),
        Path(PathRoot.Computed, 1),
        Path(PathRoot.Identifiers, 1),
        Gen.Const<Expression>(new NowExpression())), withCalls: true), dates: true);

    [Fact]
    public void The_normal_text_parses_to_an_equal_tree() => Profile.Sample(expression =>
    {
        string text = expression.ToString()!;
        List<ExpressionError> errors = [];
        ParsedExpression? parsed = ExpressionParser.Parse(text, errors);

        if (text.Length <= ExpressionWords.MaxLength)
        {
            Assert.True(errors.All(error => error.Message.Contains("not yet", StringComparison.Ordinal) || error.Message.Contains("not empty", StringComparison.Ordinal)), $"{string.Join(';', errors)} in {text}");
            Assert.Equal(expression, parsed!.Root);
            Assert.Equal(text, parsed.Root.ToString());
        }
    }, iter: 5000);

    [Theory]
    [InlineData("traits.a==1", "traits.a == 1")]
    [InlineData("not(traits.a exists)", "not traits.a exists")]
    [InlineData("not (traits.a exists or true)", "not (traits.a exists or true)")]
    [InlineData("traits.a exists or traits.b exists and traits.c exists", "traits.a exists or traits.b exists and traits.c exists")]
    [InlineData("(traits.a exists or traits.b exists) and traits.c exists", "(traits.a exists or traits.b exists) and traits.c exists")]
    [InlineData("not traits.a == 1", "not traits.a == 1")]
    [InlineData("traits[\"a\"]['first name'].b == 'x\"y'", "traits.a[\"first name\"].b == \"x\\\"y\"")]
    [InlineData("count(\"A\", where: properties.x == 1, within: 60m) > 1e2", "count(\"A\", within: 1h, where: properties.x == 1) > 100")]
    [InlineData("exists(deals, stage != \"won\")", "exists(deals, where: stage != \"won\")")]
    [InlineData("sum(deals, amount, amount > 3) > 1", "sum(deals, amount, where: amount > 3) > 1")]
    [InlineData("count(activities) >= 1 and exists(leads,a.b==\"x\" and due within next 24h)", "count(activities) >= 1 and exists(leads, where: a.b == \"x\" and due within next 1d)")]
    [InlineData("traits.d within next 48h", "traits.d within next 2d")]
    public void The_normal_text_is_one_for_all_spellings(string text, string normal)
    {
        List<ExpressionError> errors = [];
        Assert.Equal(normal, ExpressionParser.Parse(text, errors)?.Root.ToString());
    }

    private static Gen<Expression> Path(PathRoot root, int most) =>
        Key.Array[1, most].Select(keys => (Expression)new PathExpression(root, new EquatableList<string>(keys)));

    private static Gen<Expression> Operand(Gen<Expression> leaf, bool withCalls)
    {
        Gen<Expression> plain = Gen.OneOf<Expression>(leaf, Literal.Select(literal => (Expression)literal), Literal.Array[0, 3].Select(items => (Expression)new ListExpression(new EquatableList<LiteralExpression>(items))));
        return withCalls ? Gen.OneOf<Expression>(plain, Function(), Collection(), Key.Select(id => (Expression)new InSegmentExpression(id))) : plain;
    }

    private static Gen<Expression> Condition(int depth, Gen<Expression> operand, bool dates)
    {
        Gen<Expression> inner = depth == 0 ? operand : Gen.Frequency((2, operand), (1, Gen.Int[0, 0].SelectMany(_ => Condition(depth - 1, operand, dates))));
        Gen<Expression>[] choices =
        [
            Gen.Select(Gen.Enum<CompareOperator>(), inner, inner).Select(parts => (Expression)new CompareExpression(parts.Item1, parts.Item2, parts.Item3)),
            inner.Select(x => (Expression)new ExistsExpression(x)),
            inner.Select(x => (Expression)new NotExpression(x)),
            Gen.Select(Gen.Bool, inner.Array[2, 4]).Select(parts => (Expression)new LogicExpression(parts.Item1, new EquatableList<Expression>(parts.Item2))),
            .. dates ? [Gen.Select(inner, Gen.Bool, Window).Select(parts => (Expression)new DateWithinExpression(parts.Item1, parts.Item2, parts.Item3))] : Array.Empty<Gen<Expression>>(),
        ];
        return Gen.OneOf<Expression>(choices);
    }

    private static Gen<Expression?> Optional(Gen<Expression> gen) => Gen.Select(Gen.Bool, gen).Select(parts => parts.Item1 ? parts.Item2 : null);

    private static Gen<Expression> Function()
    {
        Gen<Expression> where = Condition(1, Operand(Gen.OneOf<Expression>(
            Path(PathRoot.Properties, 2),
            Path(PathRoot.Context, 2),
            Gen.OneOf<PathRoot>(PathRoot.EventType, PathRoot.EventName).Select(root => (Expression)new PathExpression(root, []))), withCalls: false), dates: false);
        return Gen.Select(Gen.Enum<EventFunction>(), Key.Array[2, 3], Path(PathRoot.Properties, 3), Gen.OneOf<long>(Gen.Const(0L), Window), Optional(where))
            .Select(parts => (Expression)new FunctionExpression(
                parts.Item1,
                new EquatableList<string>(parts.Item1 == EventFunction.Sequence ? parts.Item2 : parts.Item2[..1]),
                ExpressionWords.HasPath(parts.Item1) ? (PathExpression)parts.Item3 : null,
                parts.Item4,
                parts.Item5));
    }

    private static Gen<Expression> Collection()
    {
        Gen<Expression> where = Condition(1, Operand(Gen.OneOf<Expression>(Path(PathRoot.Properties, 2), Gen.Const<Expression>(new NowExpression())), withCalls: false), dates: true);
        return Gen.Select(Gen.OneOf<string>("count", "sum", "exists"), Gen.OneOf(ExpressionWords.Collections), Key.Array[1, 2], Optional(where))
            .Select(parts => (Expression)new CollectionExpression(parts.Item1, parts.Item2, parts.Item1 == "sum" ? new EquatableList<string>(parts.Item3) : null, parts.Item4));
    }
}
