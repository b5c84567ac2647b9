using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>A rule taken apart, to see which parts of it hold for a profile: for explaining a membership and for trying a rule. One for each thread.</summary>
internal sealed class SegmentProbe
{
    private const int MaxDeadlines = 200;

    private readonly List<Part> _parts = [];
    private readonly SegmentEngine _engine;
    private readonly CdpModel _model;
    private readonly IReadOnlyDictionary<string, long> _epochs;
    private readonly SegmentEngine?[] _timers;
    private readonly bool[] _holds;
    private readonly bool[] _later;

    /// <param name="model">Served by the shards.</param>
    /// <param name="epochs">Of the shards' states.</param>
    /// <param name="rule">Of a segment of the model, or checked with it.</param>
    public SegmentProbe(CdpModel model, IReadOnlyDictionary<string, long> epochs, Expression rule)
    {
        Root = Take(rule);
        _engine = new SegmentEngine(model with { Computed = [.. model.Computed, .. _parts.Select(part => new ComputedDefinition($"part {part.Index}", part.Expression)), .. _parts.Select(part => new ComputedDefinition($"value {part.Index}", part.Value ?? part.Expression))] }, epochs);
        _timers = new SegmentEngine?[_parts.Count];
        (_model, _epochs) = (model with { Segments = [] }, epochs);
        _holds = new bool[_parts.Count];
        _later = new bool[_parts.Count];
        First = model.Computed.Count;
    }

    /// <summary>The whole rule.</summary>
    public Part Root { get; }

    /// <summary>All parts, the whole rule first.</summary>
    public IReadOnlyList<Part> Parts => _parts;

    private int First { get; }

    /// <summary>Which parts hold, by <see cref="Part.Index"/>; good until the next call.</summary>
    public ReadOnlySpan<bool> Test(ProfileState profile, long nowMs)
    {
        _engine.TestComputed(profile, nowMs, First, _holds);
        return _holds;
    }

    /// <summary>Writes the value that a part looks at: that of the function or path, of other parts whether they hold.</summary>
    public void WriteValue(Utf8JsonWriter json, Part part, ProfileState profile, long nowMs) => _engine.WriteComputed(json, profile, nowMs, First + _parts.Count + part.Index);

    /// <summary>The first later instant at which a leaf changes by time alone; null: never, not within very many steps, or it is another segment.</summary>
    public long? Until(Part leaf, ProfileState profile, long nowMs)
    {
        if (leaf.Expression is InSegmentExpression)
        {
            return null; // The other segment's explanation says it.
        }

        bool holds = Test(profile, nowMs)[leaf.Index];
        SegmentEngine timer = _timers[leaf.Index] ??= new SegmentEngine(_model with { Segments = [new SegmentDefinition("the part", "", leaf.Expression, 0)] }, _epochs);
        long at = timer.NextDeadline(profile, nowMs);
        for (int i = 0; at != long.MaxValue && i < MaxDeadlines; i++)
        {
            _engine.TestComputed(profile, at, First, _later);
            if (_later[leaf.Index] != holds)
            {
                return at;
            }

            at = timer.NextDeadline(profile, at);
        }

        return null;
    }

    private Part Take(Expression expression)
    {
        var part = new Part(_parts.Count, expression);
        _parts.Add(part);
        switch (expression)
        {
            case LogicExpression logic:
                part.Children = [.. logic.Operands.Select(Take)];
                break;
            case NotExpression not:
                part.Children = [Take(not.Operand)];
                break;
            case CompareExpression compare:
                part.Value = compare.Left is LiteralExpression or NowExpression ? compare.Right is ListExpression ? null : compare.Right : compare.Left;
                break;
            case ExistsExpression exists:
                part.Value = exists.Operand;
                break;
            case DateWithinExpression within:
                part.Value = within.Operand;
                break;
        }

        return part;
    }

    /// <summary>A part of the rule.</summary>
    internal sealed class Part(int index, Expression expression)
    {
        /// <summary>Place in <see cref="Parts"/>.</summary>
        public int Index => index;

        /// <summary>What it says.</summary>
        public Expression Expression => expression;

        /// <summary>Of and, or, not.</summary>
        public IReadOnlyList<Part> Children { get; set; } = [];

        /// <summary>What it looks at, where that is not true or false itself.</summary>
        public Expression? Value { get; set; }

        /// <summary>Neither and, or, nor not.</summary>
        public bool IsLeaf => Children.Count == 0;
    }
}
