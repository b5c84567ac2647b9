using System.Collections.Concurrent;
using Prometheus;

namespace StreamCdp.Engine.Observability;

/// <summary>The engine's metrics (DESIGN §5.5), all with the prefix <c>streamcdp_</c> and in base units.</summary>
/// <remarks>
/// For stages: take the labelled children once, when the stage or a model version is set up; count in local <c>long</c>s and in
/// <see cref="LocalHistogram"/>s; publish once per batch. Gauges that are a sum over shards (<see cref="Profiles"/>,
/// <see cref="SegmentMembers"/>, …) take differences: each shard adds what changed since it last published and, when it goes away, takes its part back.
/// Cost of publishing: one interlocked operation a value; of a labelled lookup: about 100 ns and no place on the hot path.
/// No label may hold personal data (P9): label values are roles, names of logs, stores and rules, and segment ids of the model.
/// Safe for many threads.
/// </remarks>
public sealed class EngineMetrics
{
    /// <summary>Upper bounds of the latency histograms, seconds: 0.5 ms to 10 s in steps of 1, 2, 5.</summary>
    public static IReadOnlyList<double> LatencyBuckets { get; } = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

    private static readonly double[] CheckpointBuckets = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60];

    private readonly TimeProvider _time;
    private readonly ConcurrentDictionary<string, long> _checkpointAtMs = new();
    private readonly Counter _deadLetters;
    private readonly Histogram _stageLatency;
    private readonly Gauge _logLag;
    private readonly Counter _identityRejections;
    private readonly Counter _crmSkipped;
    private readonly Counter _traitsSkipped;
    private readonly Gauge _segmentMembers;
    private readonly Counter _segmentChanges;
    private readonly Gauge _checkpointAge;
    private readonly Gauge _stateBytes;
    private readonly Gauge _partReady;

    /// <summary>Registers the metrics; a second instance on one registry shares them with the first.</summary>
    /// <param name="registry">Where they are served from; null: <see cref="Metrics.DefaultRegistry"/>.</param>
    /// <param name="time">For the age of checkpoints; null: the system's clock.</param>
    public EngineMetrics(CollectorRegistry? registry = null, TimeProvider? time = null)
    {
        Registry = registry ?? Metrics.DefaultRegistry;
        _time = time ?? TimeProvider.System;
        MetricFactory factory = Metrics.WithCustomRegistry(Registry);

        EventsProcessed = factory.CreateCounter("streamcdp_events_processed_total", "Events applied to a profile.");
        EventsDuplicate = factory.CreateCounter("streamcdp_events_duplicate_total", "Events dropped because their messageId was seen within the dedup window.");
        _deadLetters = factory.CreateCounter("streamcdp_dead_letters_total", "Events written to the log dead-letters, by reason.", ["reason"]);
        EventLatency = factory.CreateHistogram("streamcdp_event_latency_seconds", "From receiving an event to emitting the membership change that it caused, seconds.", Buckets([.. LatencyBuckets]));
        _stageLatency = StageLatencyIn(Registry);
        _logLag = factory.CreateGauge("streamcdp_log_lag_records", "Records of a log's partition that its stage has not read yet.", ["log", "partition"]);
        IdentityMerges = factory.CreateCounter("streamcdp_identity_merges_total", "Profiles that were merged into another.");
        _identityRejections = factory.CreateCounter("streamcdp_identity_rejections_total", "Identifiers that were not linked, by the rule that refused.", ["rule"]);
        _traitsSkipped = factory.CreateCounter("streamcdp_traits_skipped_total", "Writes of traits that a profile had no room for, by limit (too_many, too_large, too_many_items).", ["reason"]);
        _crmSkipped = factory.CreateCounter("streamcdp_crm_records_skipped_total", "CRM records of events that were not kept, by reason (malformed, too_long, too_many).", ["reason"]);
        IdentityWaiting = factory.CreateGauge("streamcdp_identity_waiting", "Events that wait for a decision of the resolver.");
        Profiles = factory.CreateGauge("streamcdp_profiles", "Profiles in the shards of this process.");
        SegmentsInexact = factory.CreateGauge("streamcdp_segments_inexact", "Segments whose rule has not seen all of the history that counts: they need a backfill.");
        BackfillDone = factory.CreateGauge("streamcdp_backfill_done_ratio", "How far the counting of history is, 0 to 1; 1 where none is under way.");
        _segmentMembers = factory.CreateGauge("streamcdp_segment_members", "Members of a segment in the shards of this process.", ["segment"]);
        _segmentChanges = factory.CreateCounter("streamcdp_segment_changes_total", "Membership changes, by segment and change (entered, exited).", ["segment", "change"]);
        CheckpointDuration = factory.CreateHistogram("streamcdp_checkpoint_seconds", "Time that one checkpoint of one store took, seconds.", Buckets(CheckpointBuckets));
        _checkpointAge = factory.CreateGauge("streamcdp_checkpoint_age_seconds", "Age of the newest checkpoint of the store that is behind most, seconds; 0 where this process has no store.");
        _stateBytes = factory.CreateGauge("streamcdp_state_bytes", "Bytes of state, by store and tier (memory, disk).", ["store", "tier"]);
        _partReady = factory.CreateGauge("streamcdp_part_ready", "1 where a part of the process is ready, else 0 (the reason is in /readyz).", ["part"]);

        Registry.AddBeforeCollectCallback(() => _checkpointAge.Set(OldestCheckpointSeconds()));
    }

    /// <summary>Where the metrics are served from.</summary>
    public CollectorRegistry Registry { get; }

    /// <summary>Events applied to a profile.</summary>
    public Counter EventsProcessed { get; }

    /// <summary>Repeats dropped by messageId.</summary>
    public Counter EventsDuplicate { get; }

    /// <summary>Received → membership emitted, seconds. Publish a <see cref="LocalHistogram"/> to it.</summary>
    public Histogram EventLatency { get; }

    /// <summary>Merges applied.</summary>
    public Counter IdentityMerges { get; }

    /// <summary>Events that wait for a decision; a sum over routers, so add differences.</summary>
    public Gauge IdentityWaiting { get; }

    /// <summary>Segments that need a backfill.</summary>
    public Gauge SegmentsInexact { get; }

    /// <summary>How far a backfill is.</summary>
    public Gauge BackfillDone { get; }

    /// <summary>Profiles; a sum over shards, so add differences.</summary>
    public Gauge Profiles { get; }

    /// <summary>Durations of checkpoints, seconds; <see cref="CheckpointDone"/> fills it.</summary>
    public Histogram CheckpointDuration { get; }

    /// <summary>The counter of one reason; take it once.</summary>
    public Counter.Child DeadLetters(string reason) => _deadLetters.WithLabels(reason);

    /// <summary>The histogram of one stage (collect, route, resolve, profile, connect); take it once.</summary>
    public Histogram.Child StageLatency(string stage) => _stageLatency.WithLabels(stage);

    /// <summary>The lag of one partition; take it once, set it per batch, and remove it (<c>Remove()</c>) when the partition goes to another process.</summary>
    public Gauge.Child LogLag(string log, int partition) => _logLag.WithLabels(log, partition.ToString());

    /// <summary>The counter of one rule (limit, blocked, merge_by, cap, …); take it once.</summary>
    public Counter.Child IdentityRejections(string rule) => _identityRejections.WithLabels(rule);

    /// <summary>The counter of one limit (too_many, too_large, too_many_items); take it once.</summary>
    public Counter.Child TraitsSkipped(string reason) => _traitsSkipped.WithLabels(reason);

    /// <summary>The counter of one reason (malformed, too_long, too_many); take it once.</summary>
    public Counter.Child CrmSkipped(string reason) => _crmSkipped.WithLabels(reason);

    /// <summary>Members of one segment; a sum over shards, so add differences. Take it once.</summary>
    public Gauge.Child SegmentMembers(string segment) => _segmentMembers.WithLabels(segment);

    /// <summary>Entries into one segment; take it once.</summary>
    public Counter.Child SegmentEntered(string segment) => _segmentChanges.WithLabels(segment, "entered");

    /// <summary>Exits from one segment; take it once.</summary>
    public Counter.Child SegmentExited(string segment) => _segmentChanges.WithLabels(segment, "exited");

    /// <summary>Bytes of one store in one tier (memory, disk); take it once.</summary>
    public Gauge.Child StateBytes(string store, string tier) => _stateBytes.WithLabels(store, tier);

    /// <summary>Readiness of one part of the process.</summary>
    public Gauge.Child PartReady(string part) => _partReady.WithLabels(part);

    /// <summary>A store was opened or recovered: its age counts from here.</summary>
    /// <param name="store">For example <c>shard-3</c>.</param>
    /// <param name="atMs">When its last checkpoint was taken, or now for a new store; Unix ms.</param>
    public void CheckpointFrom(string store, long atMs) => _checkpointAtMs[store] = atMs;

    /// <summary>A checkpoint of a store is complete and valid.</summary>
    public void CheckpointDone(string store, TimeSpan took, long atMs)
    {
        CheckpointDuration.Observe(took.TotalSeconds);
        _checkpointAtMs[store] = atMs;
    }

    /// <summary>The store was closed: its age counts no longer.</summary>
    public void CheckpointGone(string store) => _checkpointAtMs.TryRemove(store, out _);

    /// <summary>The histogram of all stages, for one that knows only where metrics are served from.</summary>
    internal static Histogram StageLatencyIn(CollectorRegistry registry) => Metrics.WithCustomRegistry(registry).CreateHistogram(
        "streamcdp_stage_latency_seconds",
        "From a record's time in the log to its end in a stage (route, resolve, profile, connect), or from a request's arrival to its acknowledgement (collect), seconds.",
        ["stage"],
        Buckets([.. LatencyBuckets]));

    private double OldestCheckpointSeconds()
    {
        long now = _time.GetUtcNow().ToUnixTimeMilliseconds();
        long oldest = now;
        foreach ((string _, long atMs) in _checkpointAtMs)
        {
            oldest = Math.Min(oldest, atMs);
        }

        return (now - oldest) / 1000.0;
    }

    private static HistogramConfiguration Buckets(double[] upperBounds) => new() { Buckets = upperBounds };
}
