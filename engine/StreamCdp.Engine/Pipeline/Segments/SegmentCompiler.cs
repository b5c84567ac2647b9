using System.Globalization;
using System.Text;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>States that are counted for a backfill beside those of the model.</summary>
/// <param name="Id">Of the backfill.</param>
/// <param name="States">By <see cref="CompiledFunction.Shared"/>.</param>
internal sealed record PreparedStates(long Id, IReadOnlyList<KeyValuePair<string, FunctionExpression>> States)
{
    /// <summary>In place of a state that the model does not have: it counts no event.</summary>
    public static FunctionExpression Nothing { get; } = new(EventFunction.Happened, ["\0"], null, 0, null);
}

/// <summary>What can change a segment.</summary>
internal sealed class SegmentUses
{
    /// <summary>Indexes of functions, those of leaves not among them.</summary>
    public HashSet<int> Functions { get; } = [];

    /// <summary>Indexes of leaves.</summary>
    public HashSet<int> Leaves { get; } = [];

    /// <summary>Top-level traits.</summary>
    public HashSet<string> Traits { get; } = new(StringComparer.Ordinal);

    /// <summary>Indexes of comparisons with now.</summary>
    public HashSet<int> Dates { get; } = [];

    /// <summary>Keys of other segments.</summary>
    public HashSet<uint> Segments { get; } = [];

    /// <summary>The identifiers.</summary>
    public bool HasIdentifiers { get; private set; }

    /// <summary>The CRM's records.</summary>
    public bool HasCrm { get; private set; }

    /// <summary>Functions and nothing else.</summary>
    public bool IsOfFunctionsAlone => Functions.Count > 0 && !HasIdentifiers && !HasCrm && Traits.Count + Dates.Count + Segments.Count == 0;

    /// <summary>It uses identifiers.</summary>
    public void SetIdentifiers() => HasIdentifiers = true;

    /// <summary>It uses what another does.</summary>
    public void Add(SegmentUses other)
    {
        Functions.UnionWith(other.Functions);
        Traits.UnionWith(other.Traits);
        Dates.UnionWith(other.Dates);
        Segments.UnionWith(other.Segments);
        HasIdentifiers |= other.HasIdentifiers;
        HasCrm |= other.HasCrm;
    }

    /// <summary>It uses the CRM's records.</summary>
    public void SetCrm() => HasCrm = true;
}

/// <summary>A condition of segments that functions alone decide.</summary>
/// <param name="Index">Place among the leaves of the model.</param>
/// <param name="Node">Tells whether it is true.</param>
/// <param name="Functions">Indexes of the functions.</param>
internal sealed record SegmentLeaf(int Index, Node Node, IReadOnlyList<int> Functions);

/// <summary>Turns the expressions of a model into nodes; equal functions (same normal text) share one node, and those that differ in the window alone mostly one state.</summary>
internal sealed class SegmentCompiler
{
    private readonly CdpModel _model;
    private readonly Dictionary<string, uint> _segmentKeys;
    private readonly Dictionary<string, uint> _functionKeys;
    private readonly Dictionary<string, long> _windows = new(StringComparer.Ordinal);
    private readonly Dictionary<uint, CompiledFunction> _compiled = [];
    private readonly Dictionary<string, FunctionNode> _functionNodes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SegmentLeaf> _leafOf = new(StringComparer.Ordinal);
    private readonly List<SegmentLeaf> _leaves = [];
    private readonly Dictionary<string, CollectionNode> _collectionNodes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _slots = new(StringComparer.Ordinal);
    private readonly List<IReadOnlyList<string>> _paths = [];
    private readonly List<CompiledFunction> _functions = [];
    private readonly List<FunctionNode> _nodes = [];
    private readonly List<IDateNode> _dateNodes = [];
    private readonly Dictionary<string, int> _dateNodeOf = new(StringComparer.Ordinal);
    private readonly HashSet<string> _openComputed = new(StringComparer.Ordinal);
    private readonly IReadOnlyDictionary<string, long> _epochs;
    private SegmentUses? _uses;

    /// <param name="model">Checked.</param>
    /// <param name="epochs">Of states that come from a backfill its id, by <see cref="CompiledFunction.Shared"/>; null: none.</param>
    /// <param name="prepared">States that are counted for a backfill; null: none.</param>
    /// <exception cref="InvalidOperationException">The model is not checked: it names what it does not define, or uses a path where it cannot be.</exception>
    public SegmentCompiler(CdpModel model, IReadOnlyDictionary<string, long>? epochs = null, PreparedStates? prepared = null)
    {
        _model = model;
        _epochs = epochs ?? new Dictionary<string, long>();
        _segmentKeys = StableKeys.For(model.Segments.Select(segment => segment.Id));
        foreach ((string shared, FunctionExpression function) in States(model))
        {
            _windows[shared] = function.WindowMs;
        }

        _functionKeys = StableKeys.For(_windows.Keys.Select(shared => KeyText(shared, _epochs.GetValueOrDefault(shared))).Concat(prepared?.States.Select(state => KeyText(state.Key, prepared.Id)) ?? []));
        Uses = [.. model.Segments.Select(_ => new SegmentUses())];
        Segments = [.. model.Segments.Select(CompileSegment)];
        Computed = [.. model.Computed.Select(computed => Compile(computed.Value))];
        Prepared = [.. prepared?.States.Select(state => CompileState(state.Key, state.Value, prepared.Id)) ?? []];
    }

    /// <summary>Conditions, in the model's order.</summary>
    public Node[] Segments { get; }

    /// <summary>What can change each segment, in the model's order.</summary>
    public SegmentUses[] Uses { get; }

    /// <summary>Values, in the model's order.</summary>
    public Node[] Computed { get; }

    /// <summary>Those that are counted for a backfill, in its order.</summary>
    public IReadOnlyList<CompiledFunction> Prepared { get; }

    /// <summary>All states.</summary>
    public IReadOnlyList<CompiledFunction> Functions => _functions;

    /// <summary>Conditions of segments that functions alone decide.</summary>
    public IReadOnlyList<SegmentLeaf> Leaves => _leaves;

    /// <summary>All functions; several may share a state.</summary>
    public IReadOnlyList<FunctionNode> FunctionNodes => _nodes;

    /// <summary>Comparisons of a date with now that a segment uses.</summary>
    public IReadOnlyList<IDateNode> DateNodes => _dateNodes;

    /// <summary>By slot.</summary>
    public IReadOnlyList<IReadOnlyList<string>> EventPaths => _paths;

    /// <summary>Key by segment id.</summary>
    public IReadOnlyDictionary<string, uint> SegmentKeys => _segmentKeys;

    /// <summary>The states that a model needs: by <see cref="CompiledFunction.Shared"/> the function with the longest window of those that share it.</summary>
    public static Dictionary<string, FunctionExpression> States(CdpModel model)
    {
        var states = new Dictionary<string, FunctionExpression>(StringComparer.Ordinal);
        foreach (FunctionExpression function in FunctionsOf(model))
        {
            string shared = CompiledFunction.Shared(function).ToString();
            if (!states.TryGetValue(shared, out FunctionExpression? other) || other.WindowMs < function.WindowMs)
            {
                states[shared] = function;
            }
        }

        return states;
    }

    /// <summary>The event functions of a model, some of them twice.</summary>
    public static List<FunctionExpression> FunctionsOf(CdpModel model)
    {
        var functions = new List<FunctionExpression>();
        foreach (Expression expression in model.Segments.Select(segment => segment.When).Concat(model.Computed.Select(computed => computed.Value)))
        {
            FindFunctions(expression, functions);
        }

        return functions;
    }

    private static string KeyText(string shared, long epoch) => epoch == 0 ? shared : string.Create(CultureInfo.InvariantCulture, $"{shared} #{epoch}");

    private static void FindFunctions(Expression expression, List<FunctionExpression> found)
    {
        switch (expression)
        {
            case FunctionExpression function:
                found.Add(function);
                break;
            case LogicExpression logic:
                foreach (Expression operand in logic.Operands)
                {
                    FindFunctions(operand, found);
                }

                break;
            case NotExpression not:
                FindFunctions(not.Operand, found);
                break;
            case ExistsExpression exists:
                FindFunctions(exists.Operand, found);
                break;
            case DateWithinExpression within:
                FindFunctions(within.Operand, found);
                break;
            case CompareExpression compare:
                FindFunctions(compare.Left, found);
                FindFunctions(compare.Right, found);
                break;
        }
    }

    private Node CompileSegment(SegmentDefinition segment, int index)
    {
        Node node = CompileCondition(segment.When, Uses[index]);
        _uses = null;
        return node;
    }

    /// <summary>A rule: what is joined by and, or, not is a leaf, and equal leaves are one.</summary>
    private Node CompileCondition(Expression expression, SegmentUses uses)
    {
        switch (expression)
        {
            case LogicExpression logic:
                return new LogicNode(logic.IsAnd, [.. logic.Operands.Select(operand => CompileCondition(operand, uses))]);
            case NotExpression not:
                return new NotNode(CompileCondition(not.Operand, uses));
        }

        string text = expression.ToString()!;
        if (_leafOf.TryGetValue(text, out SegmentLeaf? leaf))
        {
            uses.Leaves.Add(leaf.Index);
            return leaf.Node;
        }

        _uses = new SegmentUses();
        Node node = Compile(expression);
        if (_uses.IsOfFunctionsAlone)
        {
            leaf = new SegmentLeaf(_leaves.Count, node, [.. _uses.Functions]);
            _leaves.Add(leaf);
            _leafOf.Add(text, leaf);
            uses.Leaves.Add(leaf.Index);
        }
        else
        {
            uses.Add(_uses);
        }

        return node;
    }

    /// <summary>A node that now changes; equal ones are one. Outside of segments nobody asks when it does.</summary>
    private Node Dated<T>(Expression expression, T node)
        where T : Node, IDateNode
    {
        if (_uses is null)
        {
            return node;
        }

        string text = expression.ToString()!;
        if (!_dateNodeOf.TryGetValue(text, out int index))
        {
            _dateNodeOf.Add(text, index = _dateNodes.Count);
            _dateNodes.Add(node);
        }

        _uses.Dates.Add(index);
        return (Node)_dateNodes[index];
    }

    private Node Compile(Expression expression)
    {
        switch (expression)
        {
            case LiteralExpression literal:
                return new ConstantNode(Constant.Of(literal.Value));
            case ListExpression list:
                return new ListNode([.. list.Items.Select(item => Constant.Of(item.Value))]);
            case NowExpression:
                return new NowNode();
            case PathExpression path:
                return CompilePath(path);
            case LogicExpression logic:
                return new LogicNode(logic.IsAnd, [.. logic.Operands.Select(Compile)]);
            case NotExpression not:
                return new NotNode(Compile(not.Operand));
            case ExistsExpression exists:
                return new ExistsNode(Compile(exists.Operand));
            case InSegmentExpression inSegment:
                uint key = _segmentKeys.TryGetValue(inSegment.SegmentId, out uint found) ? found : throw Unchecked($"in_segment(\"{inSegment.SegmentId}\") names no segment");
                _uses?.Segments.Add(key);
                return new InSegmentNode(key);
            case FunctionExpression function:
                return CompileFunction(function);
            case CollectionExpression collection:
                return CompileCollection(collection);
            case CompareExpression { Operator: <= CompareOperator.GreaterOrEqual, Right: LiteralExpression { Value: double number } } compare:
                return new CompareNumberNode(compare.Operator, Compile(compare.Left), number);
            case CompareExpression compare:
                Node left = Compile(compare.Left);
                if (compare is { Operator: CompareOperator.Equal or CompareOperator.NotEqual, Right: LiteralExpression { Value: string text } } && left is not (ConstantNode or NowNode) && !IsTime(text)) // Those may be instants.
                {
                    return new CompareTextNode(compare.Operator == CompareOperator.Equal, left, Encoding.UTF8.GetBytes(text));
                }

                var compareNode = new CompareNode(compare.Operator, left, Compile(compare.Right));
                return compareNode.HasNow ? Dated(compare, compareNode) : compareNode;
            case DateWithinExpression within:
                return Dated(within, new DateWithinNode(Compile(within.Operand), within.IsNext, within.WindowMs));
            default:
                throw new NotSupportedException($"Expression {expression.GetType().Name}.");
        }
    }

    private Node CompilePath(PathExpression path)
    {
        switch (path.Root)
        {
            case PathRoot.Traits:
                _uses?.Traits.Add(path.Path[0]);
                return new TraitNode([.. path.Path.Select(Encoding.UTF8.GetBytes)]);
            case PathRoot.Identifiers:
                _uses?.SetIdentifiers();
                return new IdentifiersNode(Encoding.UTF8.GetBytes(path.Path[0]));
            case PathRoot.Computed:
                ComputedDefinition computed = _model.Computed.FirstOrDefault(computed => computed.Name == path.Path[0]) ?? throw Unchecked($"computed.{path.Path[0]} names no computed trait");
                if (!_openComputed.Add(computed.Name))
                {
                    throw Unchecked($"computed.{computed.Name} uses itself");
                }

                Node node = Compile(computed.Value);
                _openComputed.Remove(computed.Name);
                return node;
            default:
                throw Unchecked($"{path.Root} stands outside where:");
        }
    }

    private FunctionNode CompileFunction(FunctionExpression function)
    {
        string text = function.ToString();
        if (!_functionNodes.TryGetValue(text, out FunctionNode? node))
        {
            string shared = CompiledFunction.Shared(function).ToString();
            CompiledFunction compiled = CompileState(shared, function with { WindowMs = _windows[shared] }, _epochs.GetValueOrDefault(shared));
            _functionNodes.Add(text, node = new FunctionNode(_nodes.Count, compiled, function));
            _nodes.Add(node);
        }

        _uses?.Functions.Add(node.Index);
        return node;
    }

    private static bool IsTime(string text) => IsoDate.TryParse(Encoding.UTF8.GetBytes(text), out _, out bool hasTime) && hasTime;

    private CompiledFunction CompileState(string shared, FunctionExpression function, long epoch)
    {
        uint key = _functionKeys[KeyText(shared, epoch)];
        if (!_compiled.TryGetValue(key, out CompiledFunction? compiled))
        {
            ValueSelector? selector = function.Where is null ? null : Selector(function.Where);
            Node? where = function.Where is null || (selector is not null && function.Where is CompareExpression) ? null : CompileWhere(function.Where); // What is selected by all of it needs no look.
            compiled = new CompiledFunction(key, function, function.ValuePath is null ? -1 : Slot(function.ValuePath), where, _functions.Count, epoch, selector);
            _compiled.Add(key, compiled);
            _functions.Add(compiled);
        }

        return compiled;
    }

    /// <summary>The first part of a condition that asks for a text by a path; null: none of which all the rest depends.</summary>
    private ValueSelector? Selector(Expression where)
    {
        switch (where)
        {
            case LogicExpression { IsAnd: true } logic:
                return logic.Operands.Select(Selector).FirstOrDefault(selector => selector is not null);
            case CompareExpression { Operator: CompareOperator.Equal, Left: PathExpression { Root: PathRoot.Properties or PathRoot.Context } path, Right: LiteralExpression { Value: string text } } when !IsTime(text): // Compared as an instant.
                return new ValueSelector(Slot(path), path.Root == PathRoot.Context, [Encoding.UTF8.GetBytes(text)]);
            case CompareExpression { Operator: CompareOperator.In, Left: PathExpression { Root: PathRoot.Properties or PathRoot.Context } path, Right: ListExpression list } when list.Items.All(item => item.Value is string):
                return new ValueSelector(Slot(path), path.Root == PathRoot.Context, [.. list.Items.Select(item => Encoding.UTF8.GetBytes((string)item.Value!))]);
            default:
                return null;
        }
    }

    private Node CompileWhere(Expression expression) => expression switch
    {
        LiteralExpression or ListExpression => Compile(expression),
        PathExpression { Root: PathRoot.EventType } => new EventTypeNode(),
        PathExpression { Root: PathRoot.EventName } => new EventNameNode(),
        PathExpression { Root: PathRoot.Properties or PathRoot.Context } path => new SlotNode(Slot(path), path.Root == PathRoot.Context),
        LogicExpression logic => new LogicNode(logic.IsAnd, [.. logic.Operands.Select(CompileWhere)]),
        NotExpression not => new NotNode(CompileWhere(not.Operand)),
        ExistsExpression exists => new ExistsNode(CompileWhere(exists.Operand)),
        CompareExpression { Operator: <= CompareOperator.GreaterOrEqual, Right: LiteralExpression { Value: double number } } compare => new CompareNumberNode(compare.Operator, CompileWhere(compare.Left), number),
        CompareExpression compare => new CompareNode(compare.Operator, CompileWhere(compare.Left), CompileWhere(compare.Right)),
        _ => throw Unchecked($"where: cannot see {expression}"),
    };

    private Node CompileCollection(CollectionExpression collection)
    {
        string text = collection.ToString();
        if (!_collectionNodes.TryGetValue(text, out CollectionNode? node))
        {
            var item = new ItemCompiler(this);
            CollectionFunction function = collection.Function switch
            {
                "count" => CollectionFunction.Count,
                "sum" => CollectionFunction.Sum,
                "exists" => CollectionFunction.Exists,
                _ => throw Unchecked($"there is no function {collection.Function} of a collection"),
            };
            IRecordValue? field = collection.Field is null ? null : item.Field(collection.Field);
            Node? where = collection.Where is null ? null : item.Compile(collection.Where);
            node = new CollectionNode(function, CrmObjects.OfCollection(collection.Collection), new JsonPathScanner(item.Paths), field, where, item.Dates);
            _collectionNodes.Add(text, node);
        }

        _uses?.SetCrm();
        return node.HasDates ? Dated(collection, node) : node;
    }

    private int Slot(PathExpression path)
    {
        string root = path.Root switch
        {
            PathRoot.Properties => "properties",
            PathRoot.Context => "context",
            _ => throw Unchecked($"a function cannot read {path.Root}"),
        };
        string[] keys = [root, .. path.Path];
        string name = string.Join('\0', keys);
        if (!_slots.TryGetValue(name, out int slot))
        {
            _slots.Add(name, slot = _paths.Count);
            _paths.Add(keys);
        }

        return slot;
    }

    private static InvalidOperationException Unchecked(string what) => new($"The model was not checked: {what}.");

    /// <summary>Compiles the condition of a collection: paths are fields of a CRM record.</summary>
    private sealed class ItemCompiler(SegmentCompiler model)
    {
        private readonly List<IReadOnlyList<string>> _paths = [];
        private readonly List<IDateNode> _dates = [];

        /// <summary>Fields by slot.</summary>
        public IReadOnlyList<IReadOnlyList<string>> Paths => _paths;

        /// <summary>Nodes that now changes.</summary>
        public IDateNode[] Dates => [.. _dates];

        public IRecordValue Field(IReadOnlyList<string> path) => Key(path) ?? (IRecordValue)new RecordField(Slot(path));

        public Node Compile(Expression expression)
        {
            switch (expression)
            {
                case LiteralExpression or ListExpression or NowExpression:
                    return model.Compile(expression);
                case PathExpression { Root: PathRoot.Properties } path:
                    return Key(path.Path) ?? (Node)new SlotNode(Slot(path.Path), inContext: false);
                case LogicExpression logic:
                    return new LogicNode(logic.IsAnd, [.. logic.Operands.Select(Compile)]);
                case NotExpression not:
                    return new NotNode(Compile(not.Operand));
                case ExistsExpression exists:
                    return new ExistsNode(Compile(exists.Operand));
                case CompareExpression { Operator: <= CompareOperator.GreaterOrEqual, Right: LiteralExpression { Value: double number } } compare:
                    return new CompareNumberNode(compare.Operator, Compile(compare.Left), number);
                case CompareExpression compare:
                    var compareNode = new CompareNode(compare.Operator, Compile(compare.Left), Compile(compare.Right));
                    if (compareNode.HasNow)
                    {
                        _dates.Add(compareNode);
                    }

                    return compareNode;
                case DateWithinExpression within:
                    var withinNode = new DateWithinNode(Compile(within.Operand), within.IsNext, within.WindowMs);
                    _dates.Add(withinNode);
                    return withinNode;
                default:
                    throw Unchecked($"the condition of a collection cannot see {expression}");
            }
        }

        /// <summary>Null where the path is a field.</summary>
        private static RecordKeyNode? Key(IReadOnlyList<string> path) =>
            path is [ExpressionWords.RecordId or ExpressionWords.RecordSource] ? new RecordKeyNode(path[0] == ExpressionWords.RecordId) : null;

        private int Slot(IReadOnlyList<string> path)
        {
            _paths.Add(path);
            return _paths.Count - 1;
        }
    }
}
