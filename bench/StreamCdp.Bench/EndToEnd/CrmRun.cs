using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using HdrHistogram;
using Microsoft.Extensions.Logging.Abstractions;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>A CRM of many contacts (<c>--people</c>): the first read (of <c>--events</c> at most), the whole read with everything linked, and how long live changes take while the whole reader works at an account's rate.</summary>
internal static class CrmRun
{
    private const string Yaml = """
        sources: [ { id: web, write_key: k, kind: website }, { id: crm, write_key: unused, kind: crm } ]
        identifiers:
          - { type: user_id, limit: 1 }
          - { type: email, limit: 5, from: [traits.email], normalize: email }
          - { type: bench_contact_id, limit: 10 }
          - { type: anonymous_id, limit: 100 }
        """;

    public static async Task<int> RunAsync(BenchOptions options)
    {
        string directory = options.Data.Length > 0 ? options.Data : Directory.CreateTempSubdirectory("streamcdp-bench-crm-").FullName;
        CdpModel model = ModelReader.Read("cdp.yaml", Yaml, _ => null).Model!;
        bool isRight = true;
        await using (var logs = new LocalLogs(Path.Combine(directory, "logs"), new LocalLogOptions { Durability = options.Durability }, TimeProvider.System))
        {
            long engineAlone = Rss();
            await using CdpEngine engine = CdpEngine.Start(new EngineOptions { Shards = options.Shards > 0 ? options.Shards : 2 }, model, logs, Path.Combine(directory, "state"), SchemaIds.BuiltIn, new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System), TimeProvider.System, NullLogger.Instance);
            int read = Math.Min(options.Events, options.People);
            var crm = new BenchCrm(read);
            Console.WriteLine($"{options.People:N0} contacts; RSS {Mib(Rss())} MiB with engine and CRM, {Mib(engineAlone)} before");

            // As fast as it can: what it costs us.
            isRight &= await ReadAsync("first read", 1e9, () => crm.IdsDone > 0).ConfigureAwait(false);
            isRight &= crm.Writes == 0 && crm.Records >= read;
            Link(read + 1, options.People);
            crm.Contacts = options.People;
            int done = crm.IdsDone;
            isRight &= await ReadAsync("whole read of linked contacts", 1e9, () => crm.IdsDone > done).ConfigureAwait(false);
            string table = Path.Combine(directory, "connectors", "crm-crm.sqlite");
            Console.WriteLine($"link table {Mib(new FileInfo(table).Length)} MiB, {(double)new FileInfo(table).Length / options.People:F0} bytes a contact");

            // At an account's rate: who waits for whom.
            foreach (bool hasWhole in (bool[])[false, true])
            {
                isRight &= await LatencyAsync(hasWhole).ConfigureAwait(false);
            }

            async Task<bool> ReadAsync(string what, double rate, Func<bool> isDone)
            {
                WholeIsDue();
                long requests = crm.Requests;
                await using CrmConnection connection = Connect(rate);
                using var wake = new LogWake();
                using var stop = new CancellationTokenSource();
                var took = Stopwatch.StartNew();
                TimeSpan cpu = Process.GetCurrentProcess().TotalProcessorTime;
                long most = 0;
                Task running = connection.RunAsync(wake, stop.Token);
                while (!isDone() && !running.IsCompleted)
                {
                    most = Math.Max(most, Rss());
                    await Task.Delay(100).ConfigureAwait(false);
                }

                took.Stop();
                await stop.CancelAsync().ConfigureAwait(false);
                await running.ConfigureAwait(false);
                Console.WriteLine($"{what}: {crm.Contacts:N0} in {took.Elapsed.TotalSeconds:F0} s, {crm.Contacts / took.Elapsed.TotalSeconds:N0} contacts/s, CPU {(Process.GetCurrentProcess().TotalProcessorTime - cpu).TotalSeconds:F0} s, {crm.Requests - requests:N0} requests; peak RSS {Mib(most)} MiB, managed heap {Mib(GC.GetTotalMemory(true))} MiB; at an account's 10 requests/s it would take {(crm.Requests - requests) / 10.0 / 60:F0} min");
                return connection.Status().LastError is null;
            }

            async Task<bool> LatencyAsync(bool hasWhole)
            {
                if (hasWhole)
                {
                    WholeIsDue();
                }

                await using CrmConnection connection = Connect(10);
                using var wake = new LogWake();
                using var stop = new CancellationTokenSource();
                Task running = connection.RunAsync(wake, stop.Token);
                var outwards = new LongHistogram(TimeSpan.TicksPerHour, 3);
                var inwards = new LongHistogram(TimeSpan.TicksPerHour, 3);
                long requests = crm.Requests;
                long whole = crm.WholeRequests;
                using EngineProfiles web = Profiles("web");
                var clock = Stopwatch.StartNew();
                for (int i = 0; clock.Elapsed < TimeSpan.FromSeconds(options.Seconds); i++)
                {
                    string id = (1 + (i * 7919 % options.People)).ToString(CultureInfo.InvariantCulture);
                    string value = $"w{hasWhole}{i}";
                    long began = Stopwatch.GetTimestamp();
                    Task written = crm.WrittenAsync(value);
                    Send(web, id, value);
                    await written.WaitAsync(TimeSpan.FromMinutes(2)).ConfigureAwait(false);
                    outwards.RecordValue(Stopwatch.GetElapsedTime(began).Ticks);

                    value = $"c{hasWhole}{i}";
                    began = Stopwatch.GetTimestamp();
                    crm.Edit(id, "name", value);
                    while (!await HasAsync(id, value).ConfigureAwait(false) && Stopwatch.GetElapsedTime(began) < TimeSpan.FromMinutes(2))
                    {
                        await Task.Delay(5).ConfigureAwait(false);
                    }

                    inwards.RecordValue(Stopwatch.GetElapsedTime(began).Ticks);
                }

                await stop.CancelAsync().ConfigureAwait(false);
                await running.ConfigureAwait(false);
                double seconds = clock.Elapsed.TotalSeconds;
                Console.WriteLine($"live at 10 requests/s, poll 1 s, {(hasWhole ? "beside the whole reader" : "alone")}: {outwards.TotalCount} each way in {seconds:F0} s; {(crm.Requests - requests) / seconds:F1} requests/s, of them {(crm.WholeRequests - whole) / seconds:F1} of the whole reader");
                Print("  profile to CRM", outwards);
                Print("  CRM to profile", inwards);
                return outwards.TotalCount > 0;
            }

            async Task<bool> HasAsync(string id, string value) => await engine.ProfileAsync("bench_contact_id", id, ProfileParts.Traits, CancellationToken.None).ConfigureAwait(false) is { } document && Encoding.UTF8.GetString(document.AsSpan()).Contains(value, StringComparison.Ordinal);

            // The rest as the first read would have left them: what the whole reader has to compare is the same, and their profiles are asked for by nobody.
            void Link(int from, int to)
            {
                using var links = new CrmLinks(Path.Combine(directory, "connectors"), "crm");
                CrmLink first = links.Find(CrmObject.Contact, "1")!;
                foreach (int[] some in Enumerable.Range(from, Math.Max(0, to - from + 1)).Chunk(10_000))
                {
                    links.Save(
                        some.Select(id =>
                        {
                            CrmRecord record = crm.Of(id);
                            return first with
                            {
                                Id = record.Id,
                                Profile = id.ToString("x32", CultureInfo.InvariantCulture),
                                Seen = new Dictionary<string, JsonElement>(record.Fields),
                                Hash = CrmSync.Hash(record),
                                Agreed = record.Fields.ToDictionary(field => field.Key, field => new AgreedPair(CanonicalValue.Of(field.Value), CanonicalValue.Of(field.Value))),
                            };
                        }),
                        []);
                }
            }

            void WholeIsDue()
            {
                using var links = new CrmLinks(Path.Combine(directory, "connectors"), "crm");
                links.Save([], [("whole:Contact", "{}")]); // As if a day had passed.
            }

            CrmConnection Connect(double rate)
            {
                var parts = new DeliveryParts
                {
                    Memberships = engine.Memberships,
                    Profiles = engine.Profiles,
                    DeadLetters = engine.DeadLetters,
                    Schemas = SchemaIds.BuiltIn,
                    FindProfile = (_, _) => throw new NotSupportedException(),
                    StatePath = Path.Combine(directory, "connectors"),
                    Time = TimeProvider.System,
                    Seed = 1,
                    Metrics = new ConnectorMetrics(Prometheus.Metrics.NewCustomRegistry()),
                    Logger = NullLogger.Instance,
                };
                var settings = new CrmSettings
                {
                    Id = "crm",
                    Kind = "bench",
                    Target = "bench",
                    RequestsPerSecond = rate,
                    Poll = TimeSpan.FromSeconds(1),
                    Fields = [Rule("name", "traits.name", SyncDirection.Both), Rule("city", "traits.city", SyncDirection.Both), Rule("email", "identifiers.email", SyncDirection.In)],
                };
                return new CrmConnection(settings, gate => { crm.Gate = gate; return crm; }, Profiles("crm"), parts);
            }

            EngineProfiles Profiles(string source) => new(
                model,
                source,
                engine.Events,
                SchemaIds.BuiltIn,
                token => engine.WaitAppliedAsync(TimeSpan.FromMinutes(1), token),
                async (type, value, token) => await engine.ProfileAsync(type, value, ProfileParts.Traits | ProfileParts.Computed | ProfileParts.Segments | ProfileParts.Identifiers, token).ConfigureAwait(false) is { } document ? ProfileView.FromDocument(document) : null);
        }

        if (options.Data.Length == 0)
        {
            Directory.Delete(directory, recursive: true);
        }

        Console.WriteLine(isRight ? "answer right" : "ANSWER WRONG");
        return isRight ? 0 : 1;
    }

    private static void Send(EngineProfiles web, string id, string value)
    {
        DateTimeOffset now = DateTimeOffset.UtcNow;
        web.TryAppend(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $$$"""{"type":"identify","messageId":"{{{value}}}","timestamp":"{{{now:yyyy-MM-ddTHH:mm:ss.fffZ}}}","traits":{"city":"{{{value}}}"},"context":{"externalIds":[{"id":"{{{id}}}","type":"bench_contact_id"}]}}""")), now);
    }

    private static FieldRule Rule(string field, string value, SyncDirection direction) => new(field, (PathExpression)ExpressionParser.Parse(value, [])!.Root, direction, SyncPolicy.CrmWins);

    private static void Print(string what, LongHistogram histogram)
    {
        string Ms(double percentile) => (histogram.GetValueAtPercentile(percentile) / (double)TimeSpan.TicksPerMillisecond).ToString("N0", CultureInfo.InvariantCulture);
        Console.WriteLine($"{what}: p50 {Ms(50)} ms, p90 {Ms(90)}, p99 {Ms(99)}, max {Ms(100)}");
    }

    private static long Rss()
    {
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }

    private static string Mib(long bytes) => (bytes / 1048576.0).ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>Contacts that are made when they are read: 100 a page, and it counts.</summary>
    private sealed class BenchCrm(int contacts) : ICrm
    {
        private const int PageRecords = 100;
        private static readonly DateTimeOffset s_old = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

        private readonly Lock _lock = new();
        private readonly SortedDictionary<long, (Dictionary<string, JsonElement> Fields, DateTimeOffset At)> _changed = [];
        private readonly Dictionary<string, TaskCompletionSource> _awaited = [];

        public int Contacts { get; set; } = contacts;

        public IRequestGate? Gate { get; set; }

        public long Requests { get; private set; }

        public long WholeRequests { get; private set; }

        public long Records { get; private set; }

        public long Writes { get; private set; }

        /// <summary>How often all ids were listed to the end.</summary>
        public int IdsDone { get; private set; }

        public IReadOnlyList<CrmObject> Objects { get; } = [CrmObject.Contact];

        public string ContactIdType => "bench_contact_id";

        public Task WrittenAsync(string value)
        {
            lock (_lock)
            {
                return (_awaited[value] = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
            }
        }

        public void Edit(string id, string field, string value)
        {
            lock (_lock)
            {
                long number = long.Parse(id, CultureInfo.InvariantCulture);
                _changed[number] = (new Dictionary<string, JsonElement>(Of(number).Fields) { [field] = JsonSerializer.SerializeToElement(value) }, DateTimeOffset.UtcNow);
            }
        }

        public ValueTask<IReadOnlyList<CrmField>> DescribeAsync(CrmObject kind, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask<IReadOnlyDictionary<string, string>> DeleteContactsAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask<CrmPage> ChangesAsync(CrmObject kind, DateTimeOffset since, string? page, CancellationToken cancellationToken) => RequestAsync(
            () =>
            {
                bool isWhole = since == DateTimeOffset.MinValue;
                WholeRequests += isWhole ? 1 : 0;
                long after = page is null ? 0 : long.Parse(page, CultureInfo.InvariantCulture);
                CrmRecord[] records = isWhole
                    ? [.. Enumerable.Range(1, PageRecords).Select(i => after + i).Where(id => id <= Contacts).Select(Of)]
                    : [.. _changed.Where(one => one.Key > after && one.Value.At >= since).Take(PageRecords).Select(one => Of(one.Key))];
                Records += records.Length;
                return new CrmPage(records, records.Length == PageRecords ? records[^1].Id : null, DateTimeOffset.UtcNow);
            },
            cancellationToken);

        public ValueTask<IReadOnlyList<CrmRecord>> ReadAsync(CrmObject kind, IReadOnlyList<string> ids, CancellationToken cancellationToken) => RequestAsync<IReadOnlyList<CrmRecord>>(() => [.. ids.Select(id => Of(long.Parse(id, CultureInfo.InvariantCulture)))], cancellationToken);

        public ValueTask<(IReadOnlyList<string> Ids, string? Next)> IdsAsync(CrmObject kind, string? page, CancellationToken cancellationToken) => RequestAsync<(IReadOnlyList<string>, string?)>(
            () =>
            {
                WholeRequests++;
                long after = page is null ? 0 : long.Parse(page, CultureInfo.InvariantCulture);
                string[] ids = [.. Enumerable.Range(1, PageRecords).Select(i => after + i).Where(id => id <= Contacts).Select(id => id.ToString(CultureInfo.InvariantCulture))];
                IdsDone += ids.Length < PageRecords ? 1 : 0;
                return (ids, ids.Length == PageRecords ? ids[^1] : null);
            },
            cancellationToken);

        public ValueTask<IReadOnlyList<CrmRecord>> FindContactsAsync(IReadOnlyList<string> externalIds, IReadOnlyList<string> emails, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<CrmOutcome>> WriteAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken) => RequestAsync<IReadOnlyList<CrmOutcome>>(
            () =>
            {
                List<CrmOutcome> outcomes = [];
                foreach (CrmWrite write in writes)
                {
                    Writes++;
                    foreach ((string field, JsonElement value) in write.Fields)
                    {
                        Edit(write.Id!, field, value.ToString());
                        if (_awaited.Remove(value.ToString(), out TaskCompletionSource? awaited))
                        {
                            awaited.SetResult();
                        }
                    }

                    outcomes.Add(new CrmOutcome(CrmOutcomeKind.Done, Of(long.Parse(write.Id!, CultureInfo.InvariantCulture))));
                }

                return outcomes;
            },
            cancellationToken);

        public ValueTask<IReadOnlyList<string>> ChangeListAsync(string list, IReadOnlyList<string> add, IReadOnlyList<string> remove, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask<string?> MergeContactsAsync(string from, string into, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        public CrmRecord Of(long id)
        {
            string text = id.ToString(CultureInfo.InvariantCulture);
            return _changed.TryGetValue(id, out (Dictionary<string, JsonElement> Fields, DateTimeOffset At) changed)
                ? new CrmRecord { Kind = CrmObject.Contact, Id = text, ModifiedAt = changed.At, Fields = changed.Fields }
                : new CrmRecord
                {
                    Kind = CrmObject.Contact,
                    Id = text,
                    ModifiedAt = s_old,
                    Fields = new Dictionary<string, JsonElement> { ["name"] = JsonSerializer.SerializeToElement("Person " + text), ["email"] = JsonSerializer.SerializeToElement($"p{text}@example.com"), ["city"] = JsonSerializer.SerializeToElement("City " + (id % 100).ToString(CultureInfo.InvariantCulture)) },
                };
        }

        private async ValueTask<T> RequestAsync<T>(Func<T> answer, CancellationToken cancellationToken)
        {
            await Gate!.WaitAsync(cancellationToken).ConfigureAwait(false);
            Gate.Made("ok");
            lock (_lock)
            {
                Requests++;
                return answer();
            }
        }
    }
}
