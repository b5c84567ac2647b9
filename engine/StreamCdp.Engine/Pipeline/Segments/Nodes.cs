using System.Diagnostics;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>What an expression is evaluated over: a profile at an instant, inside <c>where:</c> one event, or in the condition of a collection one CRM record at an instant.</summary>
internal ref struct EvaluationContext
{
    /// <summary>The profile; null inside <c>where:</c> and in the condition of a collection.</summary>
    public ProfileState? Profile;

    /// <summary>The instant, Unix ms.</summary>
    public long NowMs;

    /// <summary>Number of the evaluation: function values are kept for one.</summary>
    public long Stamp;

    /// <summary>The event; only inside <c>where:</c>. Of a CRM record its payload are the fields.</summary>
    public EventView Event;

    /// <summary>Source of the CRM record; only in the condition of a collection.</summary>
    public ReadOnlySpan<byte> RecordSource;

    /// <summary>Id of the CRM record; only in the condition of a collection.</summary>
    public ReadOnlySpan<byte> RecordId;
}

/// <summary>A compiled expression. Nodes keep buffers, so a tree belongs to one thread.</summary>
internal abstract class Node
{
    /// <summary>Its value.</summary>
    public abstract Value Get(scoped ref EvaluationContext context);

    /// <summary>Its value as a condition: only true is true.</summary>
    public virtual bool Test(scoped ref EvaluationContext context) => Get(ref context).IsTrue;

    /// <summary>Its value where it is a number.</summary>
    public virtual bool TryGetNumber(scoped ref EvaluationContext context, out double number)
    {
        Value value = Get(ref context);
        number = value.Number;
        return value.Kind == ValueKind.Number;
    }

    /// <summary>What it stays at an instant, once it is that, however many events come: true or false; null: neither.</summary>
    public virtual bool? Stays => null;

    /// <summary>Writes its value.</summary>
    public virtual void WriteTo(Utf8JsonWriter writer, scoped ref EvaluationContext context) => Get(ref context).WriteTo(writer);
}

/// <summary>A node that is true or false.</summary>
internal abstract class ConditionNode : Node
{
    /// <inheritdoc/>
    public sealed override Value Get(scoped ref EvaluationContext context) => Value.Of(Test(ref context));

    /// <inheritdoc/>
    public abstract override bool Test(scoped ref EvaluationContext context);
}

/// <summary>A node whose value changes when <c>now</c> passes a date.</summary>
internal interface IDateNode
{
    /// <summary>The first instant after the context's <c>now</c> at which its value can change by time, as long as its operands stay; <see cref="long.MaxValue"/>: never.</summary>
    long NextChange(scoped ref EvaluationContext context);
}

/// <summary>A literal.</summary>
internal sealed class ConstantNode(Constant constant) : Node
{
    /// <summary>A text with a date and a time: comparisons with it compare instants.</summary>
    public bool IsTimeLiteral { get; } = constant.Kind == ValueKind.Text && IsoDate.TryParse(constant.Text, out _, out bool hasTime) && hasTime;

    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context) => constant.ToValue();
}

/// <summary>A list of literals.</summary>
internal sealed class ListNode(Constant[] items) : Node
{
    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context) => new() { Kind = ValueKind.List, Items = items };
}

/// <summary><c>now</c>.</summary>
internal sealed class NowNode : Node
{
    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context) => new() { Kind = ValueKind.Instant, InstantMs = context.NowMs };
}

/// <summary><c>traits.a.b</c>: walks the JSON text of the top-level trait. Where a key comes twice the last one counts.</summary>
internal sealed class TraitNode(byte[][] path) : Node
{
    private byte[] _buffer = [];

    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context)
    {
        Debug.Assert(context.Profile is not null, "No profile.");
        ReadOnlySpan<byte> json = context.Profile.Trait(path[0]);
        if (path.Length == 1 || json.IsEmpty)
        {
            return Value.FromJson(json, ref _buffer);
        }

        for (int depth = 1; depth < path.Length; depth++)
        {
            json = Member(json, path[depth]);
        }

        return Value.FromJson(json, ref _buffer);
    }

    private static ReadOnlySpan<byte> Member(ReadOnlySpan<byte> json, byte[] key)
    {
        if (json.IsEmpty || json[0] != '{')
        {
            return default;
        }

        ReadOnlySpan<byte> found = default;
        var reader = new Utf8JsonReader(json);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            bool isKey = Pipeline.JsonText.Is(ref reader, key); // Not ValueTextEquals: it throws on half a surrogate pair.
            reader.Read();
            int start = (int)reader.TokenStartIndex;
            reader.Skip();
            if (isKey)
            {
                found = json[start..(int)reader.BytesConsumed];
            }
        }

        return found;
    }
}

/// <summary><c>identifiers.email</c>: null where there is none.</summary>
internal sealed class IdentifiersNode(byte[] type) : Node
{
    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context)
    {
        Debug.Assert(context.Profile is not null, "No profile.");
        foreach (ref readonly IdentifierEntry entry in context.Profile.Identifiers)
        {
            if (context.Profile.Bytes(entry.Type).SequenceEqual(type))
            {
                return new Value { Kind = ValueKind.List, Bytes = type, Identifiers = context.Profile };
            }
        }

        return default;
    }
}

/// <summary><c>properties.x</c>, <c>context.x</c> inside <c>where:</c>, and a field in the condition of a collection.</summary>
/// <param name="slot">Slot in <see cref="EventView.Slots"/>.</param>
/// <param name="inContext">The slot refers to <see cref="EventView.ContextPayload"/>.</param>
internal sealed class SlotNode(int slot, bool inContext) : Node
{
    private byte[] _buffer = [];

    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context)
    {
        JsonSlice slice = context.Event.Slots[slot];
        return slice.IsAbsent ? default : Value.FromToken(slice.Kind, slice.In(EventJson.Of(context.Event, inContext)), slice.IsEscaped, ref _buffer);
    }
}

/// <summary><c>type</c> inside <c>where:</c>.</summary>
internal sealed class EventTypeNode : Node
{
    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context) => context.Event.Type switch
    {
        EventType.Track => Value.Of("track"u8),
        EventType.Identify => Value.Of("identify"u8),
        EventType.Page => Value.Of("page"u8),
        EventType.Screen => Value.Of("screen"u8),
        EventType.Group => Value.Of("group"u8),
        EventType.Alias => Value.Of("alias"u8),
        _ => default,
    };
}

/// <summary><c>event</c> inside <c>where:</c>: the name of a track, page (without the prefix) or screen; null for the other types and where a page has no name.</summary>
internal sealed class EventNameNode : Node
{
    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context) => context.Event.Name.IsEmpty ? default : Value.Of(context.Event.Name);
}

/// <summary><c>and</c>, <c>or</c>: from left to right, stops when it is decided.</summary>
internal sealed class LogicNode(bool isAnd, Node[] operands) : ConditionNode
{
    /// <summary>From the model.</summary>
    public bool IsAnd => isAnd;

    /// <summary>From the model.</summary>
    public IReadOnlyList<Node> Operands => operands;

    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context)
    {
        foreach (Node operand in operands)
        {
            if (operand.Test(ref context) != isAnd)
            {
                return !isAnd;
            }
        }

        return isAnd;
    }
}

/// <summary><c>not</c>.</summary>
internal sealed class NotNode(Node operand) : ConditionNode
{
    /// <summary>From the model.</summary>
    public Node Operand => operand;

    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context) => !operand.Test(ref context);
}

/// <summary><c>exists</c>: not null.</summary>
internal sealed class ExistsNode(Node operand) : ConditionNode
{
    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context) => !operand.Get(ref context).IsNull;
}

/// <summary><c>in_segment</c>: segments are evaluated in an order in which the membership is already that of the same instant.</summary>
internal sealed class InSegmentNode(uint key) : ConditionNode
{
    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context) => context.Profile!.IsMember(key, out _);
}

/// <summary>A comparison.</summary>
internal sealed class CompareNode : ConditionNode, IDateNode
{
    private readonly CompareOperator _operator;
    private readonly Node _left;
    private readonly Node _right;
    private readonly bool _comparesInstants;
    private byte[] _buffer = [];

    public CompareNode(CompareOperator @operator, Node left, Node right)
    {
        _operator = @operator;
        _left = left;
        _right = right;
        _comparesInstants = left is NowNode or ConstantNode { IsTimeLiteral: true } || right is NowNode or ConstantNode { IsTimeLiteral: true };
    }

    /// <summary>One side is <c>now</c>.</summary>
    public bool HasNow => _left is NowNode || _right is NowNode;

    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context)
    {
        Value left = _left.Get(ref context);
        Value right = _right.Get(ref context);
        switch (_operator)
        {
            case CompareOperator.In:
                return Comparison.HasElement(right, left, ref _buffer);
            case CompareOperator.Contains when left.Kind == ValueKind.List:
                return Comparison.HasElement(left, right, ref _buffer);
            case CompareOperator.Contains:
                return AreTexts(left, right) && left.Bytes.IndexOf(right.Bytes) >= 0;
            case CompareOperator.StartsWith:
                return AreTexts(left, right) && left.Bytes.StartsWith(right.Bytes);
            case CompareOperator.EndsWith:
                return AreTexts(left, right) && left.Bytes.EndsWith(right.Bytes);
        }

        if (_comparesInstants && left.TryInstant(out long leftMs) && right.TryInstant(out long rightMs))
        {
            left = new Value { Kind = ValueKind.Instant, InstantMs = leftMs };
            right = new Value { Kind = ValueKind.Instant, InstantMs = rightMs };
        }

        if (_operator is CompareOperator.Equal or CompareOperator.NotEqual)
        {
            return Comparison.AreEqual(left, right) == (_operator == CompareOperator.Equal);
        }

        return Comparison.TryOrder(left, right, out int order) && _operator switch
        {
            CompareOperator.Less => order < 0,
            CompareOperator.LessOrEqual => order <= 0,
            CompareOperator.Greater => order > 0,
            CompareOperator.GreaterOrEqual => order >= 0,
            _ => throw new UnreachableException($"Operator {_operator}."),
        };
    }

    /// <inheritdoc/>
    public long NextChange(scoped ref EvaluationContext context)
    {
        Value date = (_left is NowNode ? _right : _left).Get(ref context);
        if (date.Kind == ValueKind.Instant || !date.TryInstant(out long ms))
        {
            return long.MaxValue;
        }

        return ms > context.NowMs ? ms : ms == context.NowMs ? ms + 1 : long.MaxValue; // d < now begins at d + 1, d <= now at d.
    }

    private static bool AreTexts(in Value left, in Value right) => left.Kind == ValueKind.Text && right.Kind == ValueKind.Text;
}

/// <summary>A comparison with a number, which most comparisons of functions are: the same as <see cref="CompareNode"/>, without building values.</summary>
internal sealed class CompareNumberNode(CompareOperator @operator, Node left, double right) : ConditionNode
{
    /// <inheritdoc/>
    public override bool? Stays => left is not FunctionNode { Definition.Kind: EventFunction.Count or EventFunction.UniqueCount } ? null : @operator switch
    {
        CompareOperator.Greater or CompareOperator.GreaterOrEqual => true,
        CompareOperator.Less or CompareOperator.LessOrEqual => false,
        _ => null,
    };

    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context)
    {
        bool isNumber = left.TryGetNumber(ref context, out double number);
        return @operator switch
        {
            CompareOperator.Equal => isNumber && number == right,
            CompareOperator.NotEqual => !(isNumber && number == right),
            CompareOperator.Less => isNumber && number < right,
            CompareOperator.LessOrEqual => isNumber && number <= right,
            CompareOperator.Greater => isNumber && number > right,
            CompareOperator.GreaterOrEqual => isNumber && number >= right,
            _ => throw new UnreachableException($"Operator {@operator}."),
        };
    }
}

/// <summary>Whether something is a text, as most conditions of values ask: the same as <see cref="CompareNode"/>, without building the other value.</summary>
internal sealed class CompareTextNode(bool isEqual, Node left, byte[] right) : ConditionNode
{
    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context)
    {
        Value value = left.Get(ref context);
        return (value.Kind == ValueKind.Text && value.Bytes.SequenceEqual(right)) == isEqual;
    }
}

/// <summary><c>d within next W</c>: now ≤ d &lt; now + W. <c>d within last W</c>: now − W &lt; d ≤ now.</summary>
internal sealed class DateWithinNode(Node operand, bool isNext, long windowMs) : ConditionNode, IDateNode
{
    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context)
    {
        if (!operand.Get(ref context).TryInstant(out long date))
        {
            return false;
        }

        long now = context.NowMs;
        return isNext ? now <= date && date < now + windowMs : now - windowMs < date && date <= now;
    }

    /// <inheritdoc/>
    public long NextChange(scoped ref EvaluationContext context)
    {
        Value value = operand.Get(ref context);
        if (value.Kind == ValueKind.Instant || !value.TryInstant(out long date))
        {
            return long.MaxValue; // now is always within.
        }

        long begin = isNext ? date - windowMs + 1 : date;
        long end = isNext ? date + 1 : date + windowMs;
        return begin > context.NowMs ? begin : end > context.NowMs ? end : long.MaxValue;
    }
}

/// <summary>An event function over the profile. One node for each different function, its value is computed once in an evaluation.</summary>
internal sealed class FunctionNode(int index, CompiledFunction function, FunctionExpression definition) : Node
{
    private readonly FunctionWindow _window = CompiledFunction.Window(definition.WindowMs);
    private long _stamp;
    private FunctionValue _value;
    private byte[] _buffer = [];

    /// <summary>Place among the function nodes of the model.</summary>
    public int Index => index;

    /// <summary>What keeps its state.</summary>
    public CompiledFunction Function => function;

    /// <summary>From the model.</summary>
    public FunctionExpression Definition => definition;

    /// <summary>From the model.</summary>
    public FunctionWindow Window => _window;

    /// <inheritdoc/>
    public override bool? Stays => definition.Kind is EventFunction.Happened or EventFunction.Sequence ? true : null;

    /// <inheritdoc/>
    public override bool Test(scoped ref EvaluationContext context)
    {
        Refresh(ref context);
        return _value.Kind switch
        {
            FunctionValueKind.Boolean => _value.Number != 0,
            FunctionValueKind.Json => Get(ref context).IsTrue,
            _ => false,
        };
    }

    /// <inheritdoc/>
    public override Value Get(scoped ref EvaluationContext context)
    {
        Refresh(ref context);
        return _value.Kind switch
        {
            FunctionValueKind.Boolean => Value.Of(_value.Number != 0),
            FunctionValueKind.Number => Value.Of(_value.Number),
            FunctionValueKind.Exact => Value.Of(ExactNumber.ToDouble(_value.Units)),
            FunctionValueKind.Json => Value.FromJson(Json(context.Profile!), ref _buffer),
            FunctionValueKind.Text => Value.Of(Json(context.Profile!)),
            _ => default,
        };
    }

    /// <inheritdoc/>
    public override bool TryGetNumber(scoped ref EvaluationContext context, out double number)
    {
        Refresh(ref context);
        switch (_value.Kind)
        {
            case FunctionValueKind.Number:
                number = _value.Number;
                return true;
            case FunctionValueKind.Exact:
                number = ExactNumber.ToDouble(_value.Units);
                return true;
            case FunctionValueKind.Json:
                return base.TryGetNumber(ref context, out number);
            default:
                number = 0;
                return false;
        }
    }

    /// <inheritdoc/>
    public override void WriteTo(Utf8JsonWriter writer, scoped ref EvaluationContext context)
    {
        Refresh(ref context);
        switch (_value.Kind)
        {
            case FunctionValueKind.Exact:
                Span<byte> text = stackalloc byte[ExactNumber.MaxTextBytes];
                writer.WriteRawValue(text[..ExactNumber.Format(_value.Units, text)], skipInputValidation: true);
                break;
            case FunctionValueKind.Json:
                writer.WriteRawValue(Json(context.Profile!), skipInputValidation: true);
                break;
            default:
                Get(ref context).WriteTo(writer);
                break;
        }
    }

    /// <summary>Its value may not be exact (RULES.md §6.1).</summary>
    public bool IsApproximate(scoped ref EvaluationContext context)
    {
        Refresh(ref context);
        return _value.IsApproximate;
    }

    /// <summary>The first instant after the context's <c>now</c> at which an event that counts then counts no more; <see cref="long.MaxValue"/>: none.</summary>
    public long Deadline(scoped ref EvaluationContext context)
    {
        Refresh(ref context);
        return _value.Deadline;
    }

    private ReadOnlySpan<byte> Json(ProfileState profile) => profile.Function(function.Key).Slice(_value.Offset, _value.Length);

    private void Refresh(scoped ref EvaluationContext context)
    {
        if (_stamp != context.Stamp)
        {
            function.Evaluate(context.Profile!.Function(function.Key), context.NowMs, _window, out _value);
            _stamp = context.Stamp;
        }
    }
}
