using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>All stages of one process on their logs: what comes in at <see cref="Events"/> becomes profiles and memberships.</summary>
/// <remarks>A thread for the router, one for the resolver, one for each shard. It stops, rather than going on wrong, when a log or a disk fails.</remarks>
public sealed partial class CdpEngine : IEngineQueries, IAsyncDisposable
{
    private const int MaxTraceRecords = 200_000;

    /// <summary>Records that wait in a shard, in memory, for the record of somebody who merges; it comes at the end of the log. Beyond that the router reads on no more: else it would run away from the shard, and the wait would grow.</summary>
    private const int MostQueued = 4096;

    private readonly EngineLogs _logs;
    private readonly EngineOptions _options;
    private readonly EngineMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly RouterRunner _router;
    private readonly ResolverRunner _resolver;
    private readonly ProfilerRunner[] _shards;
    private readonly BackfillRunner _backfill;
    private readonly ModelLog _models;
    private readonly SemaphoreSlim _edit = new(1);
    private readonly List<StageThread> _threads = [];
    private readonly ConcurrentDictionary<string, IdentifierRule> _rules = new();
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Dictionary<StageRunner, Action> _published = [];
    private volatile UInt128[]? _exportIds;
    private volatile bool _isEnding;

    private CdpEngine(EngineLogs logs, EngineOptions options, CdpModel model, IStateHome home, SchemaIds schemas, ModelLog models, EngineMetrics metrics, TimeProvider time, ILogger logger)
    {
        _logs = logs;
        _models = models;
        _options = options;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        Model = model;
        long now = Now();
        _shards = [.. Enumerable.Range(0, logs.ProfileEvents.Partitions).Select(shard => new ProfilerRunner(shard, logs, options, model, models.Get, home, schemas, time, LogCheckpointUnusable))];
        _resolver = new ResolverRunner(logs, options, model, models.Get, home, schemas, now, LogCheckpointUnusable);
        _router = new RouterRunner(logs, options, model, home, schemas, now, LogCheckpointUnusable, () => ProfilerRunner.AreFarBehind(_shards, MostQueued));
        foreach (StageRunner runner in (StageRunner[])[.. _shards, _resolver, _router])
        {
            metrics.CheckpointFrom(runner.Name, home.SavedAtMs(runner.Name.Replace(' ', '-')) ?? now); // Else a stage that never saves has no age, and nobody is told.
            _published[runner] = Publisher(runner);
            _threads.Add(new StageThread(runner, time, logger, (int)Math.Min(options.TickMs, 1000), thread => _published[thread.Runner](), OnFailed));
        }

        _backfill = new BackfillRunner(logs, _shards, models.Get, home, schemas);
        _threads.Add(new StageThread(_backfill, time, logger, idleMs: 10, _ => _metrics.BackfillDone.Set(_backfill.Status?.Done ?? 1), OnFailed));
    }

    /// <summary>The model that the router uses, and the shards from its marker on.</summary>
    public CdpModel Model { get; private set; }

    /// <summary>Log of events: where the collector writes.</summary>
    public ILog Events => _logs.Events;

    /// <summary>Log of refused events.</summary>
    public ILog DeadLetters => _logs.DeadLetters;

    /// <summary>Log of membership changes.</summary>
    public ILog Memberships => _logs.Memberships;

    /// <summary>Log of profiles.</summary>
    public ILog Profiles => _logs.Profiles;

    /// <summary>Completes when the engine stopped by itself; the exception says why and what to do.</summary>
    public Task Stopped => _stopped.Task;

    /// <summary>Starts: opens the logs, restores each stage, and runs.</summary>
    /// <param name="options">Checked: <see cref="EngineOptions.Errors"/> is empty.</param>
    /// <param name="model">The model; where it differs from the last one in the log <c>models</c>, it becomes its newest version.</param>
    /// <param name="logs">Where the logs are.</param>
    /// <param name="statePath">Directory of stores and checkpoints.</param>
    /// <param name="schemas">Schema ids to write with.</param>
    /// <param name="metrics">Metrics to publish to.</param>
    /// <param name="time">Wall time.</param>
    /// <param name="logger">Start-up and failures.</param>
    /// <exception cref="LogUnavailableException">A log cannot be opened.</exception>
    /// <exception cref="LogUnfitException">An existing log has settings that would lose data.</exception>
    public static CdpEngine Start(EngineOptions options, CdpModel model, ILogStore logs, string statePath, SchemaIds schemas, EngineMetrics metrics, TimeProvider time, ILogger logger) =>
        Start(options, model, logs, new DirectoryStateHome(statePath), schemas, metrics, time, logger);

    /// <summary>Starts with state anywhere.</summary>
    internal static CdpEngine Start(EngineOptions options, CdpModel model, ILogStore logs, IStateHome home, SchemaIds schemas, EngineMetrics metrics, TimeProvider time, ILogger logger)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(logs);
        ArgumentNullException.ThrowIfNull(time);
        var opened = new EngineLogs(logs, options);
        if (RouterRunner.SavedPartitions(home) is (int events, int shards))
        {
            opened.MustBeAsSaved(events, shards); // Before anything is written.
        }

        var models = new ModelLog(opened, schemas);
        model = models.WithApiSegments(model);
        long nowMs = time.GetUtcNow().ToUnixTimeMilliseconds();
        ulong? last = models.Last;
        models.Add(model, nowMs);
        var engine = new CdpEngine(opened, options, model, home, schemas, models, metrics, time, logger);
        bool goesOn = engine._backfill.Target == model.Version; // Else the shards would switch before it is done.
        if (!goesOn)
        {
            engine._backfill.Cancel(); // What it counted for is not wanted any more.
        }

        bool begins = !goesOn && model.BackfillsItself && last is not null && (last != model.Version || engine._shards.Any(shard => shard.Profiler.Model.Version != model.Version));
        models.Mark(model, toShards: !goesOn && !begins, nowMs); // Also when it is not new: a crash may have come between the model and its markers.
        engine._threads.ForEach(thread => thread.Start());
        if (model.BackfillsItself && !goesOn)
        {
            _ = engine.BackfillWhenReadyAsync(begins ? () => models.Mark(model, toShards: true, engine.Now()) : null);
        }

        return engine;
    }

    /// <summary>Begins with what a new model needs, or what a crash kept from beginning, once the shards have caught up and know what they lack.</summary>
    /// <param name="orElse">What to do where nothing needs history.</param>
    private async Task BackfillWhenReadyAsync(Action? orElse)
    {
        long[] ends = [.. Enumerable.Range(0, _shards.Length).Select(_logs.ProfileEvents.EndOffset)];
        while (!Enumerable.Range(0, _shards.Length).All(shard => _shards[shard].Position >= ends[shard]))
        {
            if (_isEnding || _stopped.Task.IsCompleted)
            {
                return;
            }

            await Task.Delay(20).ConfigureAwait(false);
        }

        while (!_isEnding && !_stopped.Task.IsCompleted)
        {
            try
            {
                if (!await TryBackfillAsync(null).ConfigureAwait(false))
                {
                    orElse?.Invoke();
                }

                return;
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                LogBackfillWaits(exception.Message);
                await Task.Delay(TimeSpan.FromSeconds(10)).ConfigureAwait(false);
            }
        }
    }

    /// <inheritdoc/>
    public BackfillProgress? Backfill() => _backfill.Status is { } status ? new BackfillProgress(status.Id, status.Phase, status.Done, [.. Using(status.States)]) : null;

    /// <inheritdoc/>
    public async Task<bool> TryBackfillAsync(IReadOnlyCollection<string>? segmentIds)
    {
        long retained = await _backfill.AskAsync(_backfill.RetainedSince).ConfigureAwait(false);
        CdpModel model = Model;
        bool isServed = _shards.All(shard => shard.Profiler.Model.Version == model.Version);
        HashSet<string> states = StatesToCount(model, isServed ? segmentIds : null, retained); // The shards switch to all of a model.
        if (states.Count > 0)
        {
            long nowMs = Now();
            await _backfill.AskAsync(() =>
            {
                if (_backfill.Status is { } under && under.ModelVersion == model.Version)
                {
                    states.UnionWith(under.States); // It begins anew, with all that was asked for.
                }

                _backfill.Start(model, [.. states.Order(StringComparer.Ordinal)], nowMs);
                return true;
            }).ConfigureAwait(false);
        }

        return states.Count > 0;
    }

    /// <inheritdoc/>
    public Task<SegmentEdit> PutSegmentAsync(string id, string? name, string rule, bool withHistory, CancellationToken cancellationToken) => EditAsync(id, new ApiSegment(id, name ?? id, rule), withHistory, cancellationToken);

    /// <inheritdoc/>
    public Task<SegmentEdit> DeleteSegmentAsync(string id, CancellationToken cancellationToken) => EditAsync(id, null, withHistory: true, cancellationToken);

    private async Task<SegmentEdit> EditAsync(string id, ApiSegment? segment, bool withHistory, CancellationToken cancellationToken)
    {
        await _edit.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            CdpModel old = Model;
            SegmentDefinition? current = old.Segments.FirstOrDefault(one => one.Id == id);
            if (current is { IsOfApi: false })
            {
                return new SegmentEdit(SegmentEditOutcome.OfFile, null);
            }

            if (current is null && segment is null)
            {
                return new SegmentEdit(SegmentEditOutcome.Unknown, null);
            }

            List<ApiSegment> segments = [.. old.Segments.Where(one => one.IsOfApi && one.Id != id).Select(one => new ApiSegment(one.Id, one.Name, one.When.ToString()!))];
            if (segment is not null)
            {
                segments.Add(segment);
            }

            if (segments.Count > ApiSegments.Most)
            {
                return new SegmentEdit(SegmentEditOutcome.Refused, $"there are {ApiSegments.Most} segments of the API already.");
            }

            (CdpModel? model, string? error) = ModelLog.Join(old, segments);
            if (model is null)
            {
                return new SegmentEdit(SegmentEditOutcome.Refused, error);
            }

            long nowMs = Now();
            await Task.Run(() => _models.Add(model, nowMs), CancellationToken.None).ConfigureAwait(false);
            Model = model;
            bool counts = withHistory && await TryBackfillAsync(null).ConfigureAwait(false);
            if (!counts)
            {
                await _backfill.AskAsync(() =>
                {
                    _backfill.Cancel(); // It counts for a model that nobody wants any more.
                    return true;
                }).ConfigureAwait(false);
            }

            await Task.Run(() => _models.Mark(model, toShards: !counts, nowMs), CancellationToken.None).ConfigureAwait(false);
            return new SegmentEdit(counts ? SegmentEditOutcome.Counting : SegmentEditOutcome.Served, null);
        }
        finally
        {
            _edit.Release();
        }
    }

    /// <summary>States that lack history for some rule which is still there: they began to count after events had come.</summary>
    private HashSet<string> StatesToCount(CdpModel model, IReadOnlyCollection<string>? segmentIds, long retainedSince)
    {
        IEnumerable<Expression> rules = segmentIds is null ? model.Segments.Select(segment => segment.When).Concat(model.Computed.Select(computed => computed.Value)) : model.Segments.Where(segment => segmentIds.Contains(segment.Id)).Select(segment => segment.When);
        var states = new HashSet<string>(StringComparer.Ordinal);
        HashSet<string>[] served = [.. _shards.Select(shard => ModelFunctions.Of(shard.Profiler.Model).ToHashSet(StringComparer.Ordinal))];
        foreach (FunctionExpression function in rules.SelectMany(rule => ModelFunctions.Of(rule, model)).DistinctBy(function => function.ToString()))
        {
            string text = function.ToString();
            for (int i = 0; i < _shards.Length; i++)
            {
                Profiler shard = _shards[i].Profiler;
                bool lacks = shard.FunctionsSince.TryGetValue(text, out long since)
                    ? (retainedSince == 0 || retainedSince < since) && !ModelFunctions.IsComplete(function, since, shard.Now) // Else it has more than the log.
                    : shard.ProfileCount > 0 && !served[i].Contains(text);
                if (lacks)
                {
                    states.Add(CompiledFunction.Shared(function).ToString());
                }
            }
        }

        return states;
    }

    /// <summary>Segments and computed traits that need some of these states.</summary>
    private IEnumerable<string> Using(IReadOnlyList<string> states)
    {
        HashSet<string> counted = [.. states];
        return Model.Segments.Where(segment => Needs(segment.When)).Select(segment => segment.Id).Concat(Model.Computed.Where(computed => Needs(computed.Value)).Select(computed => "computed." + computed.Name));

        bool Needs(Expression rule) => ModelFunctions.Of(rule, Model).Any(function => counted.Contains(CompiledFunction.Shared(function).ToString()));
    }

    /// <summary>Segments, and computed traits as <c>computed.x</c>, with event functions that did not see all events which count: they need a backfill to be exact.</summary>
    public IReadOnlyList<string> NeedBackfill() =>
        [.. Segments().Where(segment => segment.NeedsBackfill).Select(segment => segment.Id), .. Computed().Where(computed => computed.NeedsBackfill).Select(computed => "computed." + computed.Name)];

    /// <inheritdoc/>
    public async ValueTask<byte[]?> ProfileAsync(string type, string value, ProfileParts include, CancellationToken cancellationToken)
    {
        if (await FindAsync(type, value).WaitAsync(cancellationToken).ConfigureAwait(false) is not UInt128 id)
        {
            return null;
        }

        byte[]? document = await AskAsync(id, (profiler, profile) =>
        {
            var buffer = new MemoryStream();
            using var writer = new Utf8JsonWriter(buffer);
            ProfileDocument.Write(writer, profile, profiler.Segments, profiler.Now, include);
            writer.Flush();
            return buffer.ToArray();
        }).WaitAsync(cancellationToken).ConfigureAwait(false);
        if (document is null || !include.HasFlag(ProfileParts.Events))
        {
            return document;
        }

        byte[]? events = await EventsAsync("id", CanonicalId.Text(id), ProfileState.MaxRecent, cancellationToken).ConfigureAwait(false);
        return [.. document.AsSpan(0, document.Length - 1), .. ",\"events\":"u8, .. events ?? "[]"u8.ToArray(), (byte)'}'];
    }

    /// <inheritdoc/>
    public async ValueTask<byte[]?> EventsAsync(string type, string value, int limit, CancellationToken cancellationToken)
    {
        if (await FindAsync(type, value).WaitAsync(cancellationToken).ConfigureAwait(false) is not UInt128 id)
        {
            return null;
        }

        RecentEvent[]? recent = await AskAsync(id, (_, profile) => profile.Recent.ToArray()).WaitAsync(cancellationToken).ConfigureAwait(false);
        if (recent is null)
        {
            return null;
        }

        var buffer = new MemoryStream();
        using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartArray();
        foreach (RecentEvent place in recent.Reverse().Take(limit))
        {
            WriteEvent(writer, place);
        }

        writer.WriteEndArray();
        await writer.FlushAsync(cancellationToken).ConfigureAwait(false);
        return buffer.ToArray();
    }

    /// <inheritdoc/>
    public async ValueTask<byte[]?> TraceAsync(string messageId, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(messageId);
        byte[] text = Encoding.UTF8.GetBytes(messageId);
        (bool found, int partition, long offset) = await _router.AskAsync(() => (_router.Router.TryTrace(text, out int p, out long o), p, o)).WaitAsync(cancellationToken).ConfigureAwait(false);
        if (!found)
        {
            return TraceRefused(messageId, text);
        }

        UInt128 id = default;
        bool hasProfile = false;
        var buffer = new MemoryStream();
        using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartObject();
        writer.WriteString("message_id"u8, messageId);
        writer.WriteStartArray("stages"u8);
        writer.WriteStartObject();
        writer.WriteString("stage"u8, "collect"u8);
        writer.WritePropertyName("record"u8);
        WriteEvent(writer, new RecentEvent(partition, offset));
        writer.WriteEndObject();
        writer.WriteStartObject();
        writer.WriteString("stage"u8, "route"u8);
        if (_router.Position(partition) <= offset)
        {
            writer.WriteString("outcome"u8, "waits for an identity decision"u8);
        }
        else
        {
            UInt128? profile = await ProfileOfAsync(partition, offset).WaitAsync(cancellationToken).ConfigureAwait(false);
            hasProfile = profile is not null;
            id = profile ?? default;
            writer.WriteString("outcome"u8, hasProfile ? "routed" : "kept");
            if (hasProfile)
            {
                writer.WriteString("profile"u8, CanonicalId.Text(id));
            }
        }

        writer.WriteEndObject();
        if (hasProfile)
        {
            writer.WriteStartObject();
            writer.WriteString("stage"u8, "profile"u8);
            byte[]? applied = await AskAsync(id, (_, state) => new[] { state.Recent.Contains(new RecentEvent(partition, offset)) ? (byte)1 : (byte)0 }).WaitAsync(cancellationToken).ConfigureAwait(false);
            writer.WriteString("outcome"u8, applied is [1] ? "applied"u8 : applied is null ? "not applied yet"u8 : "applied, or not applied yet; it is not among the profile's latest events"u8);
            writer.WritePropertyName("memberships"u8);
            WriteCaused(writer, id, text);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        await writer.FlushAsync(cancellationToken).ConfigureAwait(false);
        return buffer.ToArray();
    }

    /// <summary>The trace of an event that was refused: by whom and why. Null where the newest dead letters have none with this messageId.</summary>
    private byte[]? TraceRefused(string messageId, ReadOnlySpan<byte> text)
    {
        var buffer = new MemoryStream();
        using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartObject();
        writer.WriteString("message_id"u8, messageId);
        writer.WriteStartArray("stages"u8);
        if (!DeadLetterSearch.TryFind(_logs.DeadLetters, text, (long offset, in DeadLetter letter) => WriteRefusal(writer, offset, letter)))
        {
            return null;
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.Flush();
        return buffer.ToArray();
    }

    private static void WriteRefusal(Utf8JsonWriter writer, long offset, in DeadLetter letter)
    {
        writer.WriteStartObject();
        writer.WriteString("stage"u8, "collect"u8);
        if (!letter.OriginLog.IsEmpty)
        {
            // The log took it, from the collector or from somebody's own producer, and the router refused it.
            writer.WriteStartObject("record"u8);
            writer.WriteString("offset"u8, $"{letter.OriginPartition}:{letter.OriginOffset}");
            writer.WriteEndObject();
            writer.WriteEndObject();
            writer.WriteStartObject();
            writer.WriteString("stage"u8, "route"u8);
        }

        writer.WriteString("outcome"u8, "dead letter"u8);
        writer.WriteString("reason"u8, letter.Reason);
        writer.WriteString("field"u8, letter.Field);
        writer.WriteString("detail"u8, letter.Detail);
        writer.WriteNumber("dead_letter"u8, offset);
        ProfileDocument.WriteTime(writer, "received_at"u8, letter.ReceivedAt);
        writer.WriteEndObject();
    }

    /// <inheritdoc/>
    public IReadOnlyList<SegmentStatus> Segments()
    {
        var statuses = new List<SegmentStatus>();
        BackfillProgress? backfill = Backfill();
        IReadOnlyList<SegmentDefinition> segments = Model.Segments;
        for (int i = 0; i < segments.Count; i++)
        {
            SegmentDefinition segment = segments[i];
            long members = 0;
            foreach (ProfilerRunner shard in _shards)
            {
                members += shard.Profiler.Members.GetValueOrDefault(segment.Id)?.Count ?? 0;
            }

            long since = ExactSince(segment.When);
            statuses.Add(new SegmentStatus(segment.Id, segment.Name, segment.When.ToString()!, segment.Version.ToString("x16", CultureInfo.InvariantCulture), members, since, since > 0)
            {
                ServedVersion = Served(segment, i)?.ToString("x16", CultureInfo.InvariantCulture),
                IsOfApi = segment.IsOfApi,
                Progress = backfill?.Names.Contains(segment.Id) == true ? backfill.Done : null,
            });
        }

        return statuses;
    }

    /// <summary>Version of a segment that the shards serve; while they switch that of one which has not yet. Null: it is new there.</summary>
    private ulong? Served(SegmentDefinition segment, int index)
    {
        foreach (ProfilerRunner shard in _shards)
        {
            IReadOnlyList<SegmentDefinition> segments = shard.Profiler.Served.Segments;
            ulong? served = (index < segments.Count && segments[index].Id == segment.Id ? segments[index] : segments.FirstOrDefault(one => one.Id == segment.Id))?.Version; // Mostly it stands at the same place.
            if (served != segment.Version)
            {
                return served;
            }
        }

        return segment.Version;
    }

    /// <inheritdoc/>
    public IReadOnlyList<ComputedStatus> Computed() =>
        [.. Model.Computed.Select(computed => (computed, Since: ExactSince(computed.Value))).Select(one => new ComputedStatus(one.computed.Name, one.computed.Value.ToString()!, one.Since, one.Since > 0))];

    /// <summary>From when on what an expression needs was counted; 0 where nothing is missing, or nothing any more: a window forgets what was missed.</summary>
    private long ExactSince(Expression expression)
    {
        long since = 0;
        if (_shards.All(shard => shard.Profiler.FunctionsSince.Count == 0))
        {
            return since;
        }

        foreach (FunctionExpression function in ModelFunctions.Of(expression, Model))
        {
            foreach (ProfilerRunner shard in _shards)
            {
                if (shard.Profiler.FunctionsSince.TryGetValue(function.ToString(), out long began) && !ModelFunctions.IsComplete(function, began, shard.Profiler.Now))
                {
                    since = Math.Max(since, began);
                }
            }
        }

        return since;
    }

    /// <inheritdoc/>
    public async ValueTask<MembersPage?> MembersAsync(string segmentId, string? cursor, int limit, CancellationToken cancellationToken)
    {
        if (!Model.Segments.Any(segment => segment.Id == segmentId))
        {
            return null;
        }

        UInt128? after = null;
        if (cursor is not null)
        {
            if (!CanonicalId.TryParse(cursor, out UInt128 last))
            {
                throw new FormatException("The cursor is none of ours: give the value of next as it came.");
            }

            after = last;
        }

        var page = new List<(UInt128 Id, long Since)>();
        foreach (ProfilerRunner shard in _shards)
        {
            if (shard.Profiler.Members.TryGetValue(segmentId, out SegmentMembers? members))
            {
                page.AddRange(members.Page(after, limit + 1));
            }
        }

        page.Sort((left, right) => left.Id.CompareTo(right.Id));
        bool more = page.Count > limit;
        var result = new List<SegmentMember>();
        foreach ((UInt128 id, long since) in page.Take(limit))
        {
            byte[]? identifiers = await AskAsync(id, (_, profile) =>
            {
                var buffer = new MemoryStream();
                using var writer = new Utf8JsonWriter(buffer);
                ProfileDocument.WriteIdentifiers(writer, profile);
                writer.Flush();
                return buffer.ToArray();
            }).WaitAsync(cancellationToken).ConfigureAwait(false);
            result.Add(new SegmentMember(CanonicalId.Text(id), since, JsonElement.Parse(identifiers ?? "[]"u8.ToArray())));
        }

        return new MembersPage(result, more ? result[^1].Id : null);
    }

    /// <inheritdoc/>
    public async ValueTask<(IReadOnlyList<byte[]> Profiles, string? Next)> ExportAsync(string? cursor, int limit, CancellationToken cancellationToken)
    {
        UInt128 after = default;
        bool first = cursor is null;
        if (cursor is not null && !CanonicalId.TryParse(cursor, out after))
        {
            throw new FormatException("The cursor is none of ours: give the value of next as it came.");
        }

        UInt128[]? ids = _exportIds;
        if (first || ids is null)
        {
            // One look at all profiles serves all pages; a page after a restart looks again.
            var found = new List<UInt128>();
            foreach (ProfilerRunner shard in _shards)
            {
                await foreach (List<UInt128> part in IdsAsync(shard, cancellationToken).ConfigureAwait(false))
                {
                    found.AddRange(part);
                }
            }

            found.Sort();
            _exportIds = ids = [.. found];
        }

        int start = first ? 0 : Array.BinarySearch(ids, after);
        start = first ? 0 : start < 0 ? ~start : start + 1;
        int end = Math.Min(ids.Length, start + limit);
        var documents = new List<byte[]>();
        for (int i = start; i < end; i++)
        {
            if (await ProfileAsync("id", CanonicalId.Text(ids[i]), ProfileParts.Default, cancellationToken).ConfigureAwait(false) is { } document)
            {
                documents.Add(document);
            }
        }

        if (end == ids.Length)
        {
            _exportIds = null;
            return (documents, null);
        }

        return (documents, CanonicalId.Text(ids[end - 1]));
    }

    /// <inheritdoc/>
    public async Task WaitAppliedAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        long deadline = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        long now = Now();
        IReadOnlyList<long> events = await InTimeAsync(_logs.Events.AskEndOffsetsAsync(timeout + TimeSpan.FromSeconds(1)).AsTask(), "collect").ConfigureAwait(false); // Also what other processes collected.
        while (!await AskAsync(_router, () => Enumerable.Range(0, events.Count).All(partition => _router.Position(partition) >= events[partition])).ConfigureAwait(false))
        {
            await PauseAsync("route").ConfigureAwait(false);
        }

        await DurableAsync(_router, await AskAsync(_router, () => _router.FlushClock(now)).ConfigureAwait(false)).ConfigureAwait(false);
        while (true)
        {
            long sentBefore = SentOn();
            long[] ends = [.. Enumerable.Range(0, _shards.Length).Select(_logs.ProfileEvents.EndOffset)];
            for (int shard = 0; shard < _shards.Length; shard++)
            {
                while (_shards[shard].Position < ends[shard])
                {
                    await PauseAsync(_shards[shard].Name).ConfigureAwait(false);
                }
            }

            // A merge goes through the logs of two shards or more: quiet means that nobody waits and nothing was sent on meanwhile.
            int waiting = 0;
            foreach (ProfilerRunner shard in _shards)
            {
                waiting += await AskAsync(shard, () => shard.Profiler.PendingCount + (shard.Profiler.HasWork ? 1 : 0)).ConfigureAwait(false);
            }

            if (waiting == 0 && SentOn() == sentBefore)
            {
                foreach (ProfilerRunner shard in _shards)
                {
                    await DurableAsync(shard, await AskAsync(shard, shard.Outputs).ConfigureAwait(false)).ConfigureAwait(false);
                }

                return;
            }

            await PauseAsync("profile").ConfigureAwait(false);
        }

        long SentOn() => _shards.Sum(shard => shard.Profiler.SentOn);

        Task<TResult> AskAsync<TResult>(StageRunner stage, Func<TResult> question) => InTimeAsync(stage.AskAsync(question), stage.Name);

        async Task DurableAsync(StageRunner stage, Func<bool> isDurable)
        {
            while (!isDurable())
            {
                await PauseAsync(stage.Name).ConfigureAwait(false); // Not the stage's thread: it must go on meanwhile.
            }
        }

        async Task PauseAsync(string stage)
        {
            ThrowIfStopped();
            if (Environment.TickCount64 > deadline)
            {
                throw Behind(stage);
            }

            await Task.Delay(1, cancellationToken).ConfigureAwait(false);
        }

        async Task<TResult> InTimeAsync<TResult>(Task<TResult> answer, string stage)
        {
            ThrowIfStopped(); // A stage that stopped answers nothing.
            try
            {
                return await answer.WaitAsync(TimeSpan.FromMilliseconds(Math.Max(0, deadline - Environment.TickCount64)), cancellationToken).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                ThrowIfStopped();
                throw Behind(stage);
            }
        }

        void ThrowIfStopped()
        {
            if (_threads.Find(thread => thread.Fault is not null) is { } failed)
            {
                throw new TimeoutException($"Stage {failed.Runner.Name} stopped: {failed.Fault!.Message}");
            }
        }

        TimeoutException Behind(string stage) =>
            new($"Stage {stage} is behind: not everything was applied within {timeout.TotalSeconds:0.###} s. Ask again, or look at streamcdp_log_lag_records.");
    }

    /// <inheritdoc/>
    public IReadOnlyList<PartHealth> Health()
    {
        var parts = new List<PartHealth>();
        foreach (StageThread thread in _threads)
        {
            string reason = thread.Fault?.Message ?? thread.Runner.CheckpointProblem ?? "";
            parts.Add(new PartHealth(thread.Runner.Name, thread.Fault is null, thread.Fault is null, reason));
        }

        return parts;
    }

    /// <summary>Stops: stages finish their batch, take a last checkpoint, and close.</summary>
    public async ValueTask DisposeAsync()
    {
        _isEnding = true;
        _threads.ForEach(thread => thread.RequestStop(save: true));
        await Task.Run(() => _threads.ForEach(thread => thread.Join())).ConfigureAwait(false); // One pool thread waits, not one a stage: the saves need the others.
        _threads.ForEach(thread => thread.Dispose());
        _stopped.TrySetResult();
    }

    private async Task<UInt128?> FindAsync(string type, string value)
    {
        if (type == "id")
        {
            return CanonicalId.TryParse(value, out UInt128 given) ? given : null;
        }

        if (Model.Identifiers.FirstOrDefault(identifier => identifier.Type == type) is not IdentifierDefinition definition)
        {
            return null;
        }

        IdentifierRule rule = _rules.GetOrAdd(type, _ => new IdentifierRule(definition));
        byte[] normal;
        lock (rule)
        {
            if (rule.Apply(Encoding.UTF8.GetBytes(value), out ReadOnlySpan<byte> normalised) != IdentifierOutcome.Taken)
            {
                return null;
            }

            normal = normalised.ToArray();
        }

        byte[] typeText = Encoding.UTF8.GetBytes(type);
        return await _router.AskAsync(() => _router.Router.TryFind(typeText, normal, out UInt128 found) ? found : (UInt128?)null).ConfigureAwait(false);
    }

    /// <summary>Reads a profile on its shard's thread, following it through merges.</summary>
    private async Task<TResult?> AskAsync<TResult>(UInt128 id, Func<Profiler, ProfileState, TResult> read)
        where TResult : class
    {
        for (int hops = 0; hops < 64; hops++)
        {
            ProfilerRunner shard = _shards[CanonicalId.Shard(id, _shards.Length)];
            UInt128 wanted = id;
            (TResult? result, UInt128? redirect) = await shard.AskAsync(() =>
                shard.Profiler.TryGet(wanted, out UInt128? to, out ProfileState profile) ? (read(shard.Profiler, profile), null) : ((TResult?)null, to)).ConfigureAwait(false);
            if (redirect is not UInt128 next)
            {
                return result;
            }

            id = next;
        }

        return null;
    }

    private void WriteEvent(Utf8JsonWriter writer, RecentEvent place)
    {
        writer.WriteStartObject();
        writer.WriteString("offset"u8, $"{place.Partition}:{place.Offset}");
        if (place.Offset >= _logs.Events.BeginOffset(place.Partition))
        {
            using ILogReader reader = _logs.Events.OpenReader(place.Partition, place.Offset);
            if (reader.TryReadBefore(place.Offset + 1, out LogRecord record) && record.Offset == place.Offset)
            {
                ReadOnlySpan<byte> payload = record.Value;
                long receivedAt = record.TimestampMs;
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && CustomerEvent.TryRead(body, out CustomerEvent e))
                {
                    payload = e.Payload;
                    receivedAt = e.ReceivedAt;
                    writer.WriteString("source"u8, e.Source);
                }

                ProfileDocument.WriteTime(writer, "received_at"u8, receivedAt);
                writer.WritePropertyName("event"u8);
                writer.WriteRawValue(payload);
            }
        }

        writer.WriteEndObject();
    }

    private async Task<UInt128?> ProfileOfAsync(int partition, long offset)
    {
        using ILogReader reader = _logs.Events.OpenReader(partition, offset);
        byte[] value;
        if (!reader.TryReadBefore(offset + 1, out LogRecord record) || record.Offset != offset)
        {
            return null;
        }

        value = record.Value.ToArray();
        byte[]? type = null;
        byte[]? text = null;
        var events = new EventReader(Model);
        ReadIdentifier();
        return type is null ? null : await _router.AskAsync(() => _router.Router.TryFind(type, text, out UInt128 found) ? found : (UInt128?)null).ConfigureAwait(false);

        void ReadIdentifier()
        {
            bool isAvro = WireFormat.TryRead(value, out _, out ReadOnlySpan<byte> body) & CustomerEvent.TryRead(body, out CustomerEvent e);
            EventProblem problem = isAvro ? events.Read(e.Payload, e.Context, EventTypeText.Parse(e.Type)) : events.Read(value, default);
            if (problem == EventProblem.None && events.IdentifierCount > 0)
            {
                type = Encoding.UTF8.GetBytes(Model.Identifiers[events.IdentifierType(0)].Type);
                text = events.IdentifierValue(0).ToArray();
            }
        }
    }

    /// <summary>Membership changes that an event caused, from the newest part of the log.</summary>
    private void WriteCaused(Utf8JsonWriter writer, UInt128 profile, ReadOnlySpan<byte> messageId)
    {
        writer.WriteStartArray();
        for (int shard = 0; shard < _shards.Length; shard++)
        {
            long from = Math.Max(_logs.Memberships.BeginOffset(shard), _logs.Memberships.EndOffset(shard) - MaxTraceRecords);
            using ILogReader reader = _logs.Memberships.OpenReader(shard, from);
            long end = _logs.Memberships.EndOffset(shard);
            while (reader.TryReadBefore(end, out LogRecord record))
            {
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && SegmentMembership.TryRead(body, out SegmentMembership change) && change.Cause.SequenceEqual(messageId))
                {
                    writer.WriteStartObject();
                    writer.WriteString("profile"u8, CanonicalId.Text(change.ProfileId));
                    writer.WriteString("segment"u8, change.Segment);
                    writer.WriteString("change"u8, change.Change == MembershipChange.Entered ? "entered"u8 : "exited"u8);
                    ProfileDocument.WriteTime(writer, "at"u8, change.At);
                    writer.WriteNumber("version"u8, change.Version);
                    writer.WriteEndObject();
                }
            }
        }

        writer.WriteEndArray();
    }

    private void OnFailed(StageThread thread, Exception error) => _stopped.TrySetException(error);

    /// <summary>Publishes what a stage counted, on its own thread.</summary>
    private Action Publisher(StageRunner runner)
    {
        string name = runner.Name;
        long checkpointAt = 0;
        string? problemLogged = null;
        long nextState = 0;
        switch (runner)
        {
            case RouterRunner router:
                Prometheus.Histogram.Child routeLatency = _metrics.StageLatency("route");
                long duplicates = 0;
                long[] letters = new long[router.Router.DeadLetters.Length];
                Dictionary<string, long> routerRejections = [];
                return () =>
                {
                    Add(_metrics.EventsDuplicate, router.Router.Duplicates, ref duplicates);
                    for (int i = 1; i < letters.Length; i++)
                    {
                        if (router.Router.DeadLetters[i] != letters[i])
                        {
                            _metrics.DeadLetters(((EventProblem)i).Reason()).Inc(router.Router.DeadLetters[i] - letters[i]);
                            letters[i] = router.Router.DeadLetters[i];
                        }
                    }

                    _metrics.IdentityWaiting.Set(router.Router.WaitingCount);
                    if (IsDue())
                    {
                        router.Latency.PublishTo(routeLatency);
                        AddRejections(router.Router.Rejections, routerRejections);
                        State(router.StateBytes);
                        _metrics.LogLag("identity-map", 0).Set(Math.Max(0, _logs.IdentityMap.EndOffset(0) - router.DecisionPosition));
                        for (int partition = 0; partition < _logs.Events.Partitions; partition++)
                        {
                            _metrics.LogLag("events", partition).Set(Math.Max(0, _logs.Events.EndOffset(partition) - router.Position(partition)));
                        }
                    }
                };
            case ResolverRunner resolver:
                long merges = 0;
                Prometheus.Histogram.Child resolveLatency = _metrics.StageLatency("resolve");
                Dictionary<string, long> rejections = [];
                return () =>
                {
                    if (!IsDue())
                    {
                        return;
                    }

                    resolver.Latency.PublishTo(resolveLatency);
                    Add(_metrics.IdentityMerges, resolver.Resolver.Merges, ref merges);
                    AddRejections(resolver.Resolver.Rejections, rejections);
                    _metrics.LogLag("identity-links", 0).Set(Math.Max(0, _logs.IdentityLinks.EndOffset(0) - resolver.Position));
                    State(resolver.StateBytes);
                };
            default:
                var shard = (ProfilerRunner)runner;
                int number = int.Parse(name.AsSpan("profile ".Length), CultureInfo.InvariantCulture);
                Prometheus.Histogram.Child profileLatency = _metrics.StageLatency("profile");
                (long Entered, long Exited)[] changes = [];
                (Prometheus.Counter.Child Entered, Prometheus.Counter.Child Exited, Prometheus.Gauge.Child Members)[] ofSegments = [];
                long nextInexact = 0;
                CdpModel? model = null;
                Prometheus.Counter.Child malformed = _metrics.CrmSkipped("malformed");
                Prometheus.Counter.Child tooLong = _metrics.CrmSkipped("too_long");
                Prometheus.Counter.Child tooMany = _metrics.CrmSkipped("too_many");
                long applied = 0;
                var skipped = new CrmSkipped();
                Prometheus.Counter.Child traitsTooMany = _metrics.TraitsSkipped("too_many");
                Prometheus.Counter.Child traitsTooLarge = _metrics.TraitsSkipped("too_large");
                Prometheus.Counter.Child traitsTooManyItems = _metrics.TraitsSkipped("too_many_items");
                var traitsSkipped = new TraitsSkipped();
                return () =>
                {
                    Add(_metrics.EventsProcessed, shard.Profiler.Applied, ref applied);
                    shard.Latency.PublishTo(_metrics.EventLatency);
                    if (IsDue())
                    {
                        if (shard.Profiler.LatestFence > _router.Router.Generation)
                        {
                            throw new LogTakenOverException();
                        }

                        shard.StageLatency.PublishTo(profileLatency);
                        Add(traitsTooMany, shard.Profiler.TraitsSkipped.TooMany, ref traitsSkipped.TooMany);
                        Add(traitsTooLarge, shard.Profiler.TraitsSkipped.TooLarge, ref traitsSkipped.TooLarge);
                        Add(traitsTooManyItems, shard.Profiler.TraitsSkipped.TooManyItems, ref traitsSkipped.TooManyItems);
                        Add(malformed, shard.Profiler.CrmSkipped.Malformed, ref skipped.Malformed);
                        Add(tooLong, shard.Profiler.CrmSkipped.TooLong, ref skipped.TooLong);
                        Add(tooMany, shard.Profiler.CrmSkipped.TooMany, ref skipped.TooMany);
                        if (model != shard.Profiler.Model)
                        {
                            model = shard.Profiler.Model;
                            changes = new (long, long)[model.Segments.Count];
                            ofSegments = [.. model.Segments.Select(segment => (_metrics.SegmentEntered(segment.Id), _metrics.SegmentExited(segment.Id), _metrics.SegmentMembers(segment.Id)))];
                        }

                        for (int i = 0; i < changes.Length; i++)
                        {
                            (long entered, long exited) = shard.Profiler.ChangeCounts[i];
                            ofSegments[i].Entered.Inc(entered - changes[i].Entered);
                            ofSegments[i].Exited.Inc(exited - changes[i].Exited);
                            changes[i] = (entered, exited);
                            ofSegments[i].Members.Set(_shards.Sum(other => other.Profiler.Members.GetValueOrDefault(model.Segments[i].Id)?.Count ?? 0));
                        }

                        if (number == 0 && Environment.TickCount64 >= nextInexact)
                        {
                            nextInexact = Environment.TickCount64 + 10_000; // It looks at every rule.
                            _metrics.SegmentsInexact.Set(Segments().Count(segment => segment.NeedsBackfill));
                        }

                        _metrics.Profiles.Set(_shards.Sum(other => other.Profiler.ProfileCount));
                        _metrics.LogLag("profile-events", number).Set(shard.Lag);
                        State(shard.StateBytes);
                    }
                };
        }

        bool IsDue()
        {
            long now = Environment.TickCount64;
            if (now < nextState)
            {
                return false;
            }

            nextState = now + 500;
            if (runner.CheckpointAtMs != checkpointAt)
            {
                checkpointAt = runner.CheckpointAtMs;
                _metrics.CheckpointDone(name, TimeSpan.FromMilliseconds(runner.CheckpointTookMs), checkpointAt);
            }

            // Once for each problem: the same one comes again with every try, with other figures.
            string? problem = runner.CheckpointProblem;
            string? withoutFigures = problem is null ? null : string.Concat(problem.Where(c => !char.IsAsciiDigit(c)));
            if (withoutFigures != problemLogged)
            {
                problemLogged = withoutFigures;
                if (problem is null)
                {
                    LogCheckpointsAgain(name);
                }
                else
                {
                    LogCheckpointFailed(name, problem);
                }
            }

            return true;
        }

        void State((long Memory, long Disk) bytes)
        {
            _metrics.StateBytes(name, "memory").Set(bytes.Memory);
            _metrics.StateBytes(name, "disk").Set(bytes.Disk);
        }

        void AddRejections(IReadOnlyDictionary<string, long> counts, Dictionary<string, long> published)
        {
            foreach ((string rule, long count) in counts)
            {
                _metrics.IdentityRejections(rule).Inc(count - published.GetValueOrDefault(rule));
                published[rule] = count;
            }
        }

        static void Add(Prometheus.ICounter counter, long value, ref long published)
        {
            if (value != published)
            {
                counter.Inc(value - published);
                published = value;
            }
        }
    }

    private long Now() => _time.GetUtcNow().ToUnixTimeMilliseconds();

    [LoggerMessage(Level = LogLevel.Warning, Message = "Stage {Stage} could not save a checkpoint: {Reason} Nothing is lost, and it is tried again; until one is saved, a restart takes longer.")]
    private partial void LogCheckpointFailed(string stage, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "History cannot be counted yet, and the rules of before are served: {Reason}")]
    private partial void LogBackfillWaits(string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Stage {Stage} saves checkpoints again.")]
    private partial void LogCheckpointsAgain(string stage);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Reason} An older one is tried, then the log from its start; nothing is lost.")]
    private partial void LogCheckpointUnusable(string reason);
}
