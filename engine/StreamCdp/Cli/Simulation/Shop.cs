using System.Buffers;
using System.Globalization;
using System.Text.Json;

namespace StreamCdp.Cli.Simulation;

/// <summary>A seeded shop: who comes, on which device, and what their SDKs send, with everything that real traffic brings: log-ins on two devices, shared
/// devices, late, repeated and invalid events, blocked ids, wrong clocks.</summary>
/// <remarks>Each household draws from its own random numbers, so its calls do not depend on the speed of the server. Not safe for concurrent use.</remarks>
internal sealed class Shop : IDisposable
{
    private const int MaxAnonymousIds = 8;
    private const long HourMs = 3_600_000;
    private static readonly string[] s_countries = ["DE", "FR", "GB", "US", "NL", "ES"];
    private static readonly string[] s_plans = ["free", "pro", "team"];
    private static readonly string[] s_pages = ["Home", "Category", "Search", "Help", "Cart"];
    private static readonly string[] s_campaigns = ["spring", "brand", "newsletter", "retargeting"];
    private static readonly string[] s_categories = ["shoes", "books", "garden", "music", "toys", "kitchen"];
    private static readonly string[] s_blocked = ["null", "undefined", "0", "anonymous", "[object Object]", "00000000-0000-0000-0000-000000000000"];
    private static readonly byte[] s_padding = [.. Enumerable.Repeat((byte)'x', 33_000)];

    private readonly ShopSettings _settings;
    private readonly Household[] _households;
    private readonly ShopProduct[] _products;
    private readonly Random _order;
    private readonly ArrayBufferWriter<byte> _event = new(1024);
    private readonly ArrayBufferWriter<byte> _body = new(16 * 1024);
    private readonly Utf8JsonWriter _eventWriter;

    /// <summary>Makes the people, their devices and the products.</summary>
    public Shop(ShopSettings settings)
    {
        _settings = settings;
        _eventWriter = new Utf8JsonWriter(_event);
        _order = new Random(settings.Seed);
        var random = new Random(settings.Seed ^ 0x5eed);
        _products = [.. Enumerable.Range(0, 48).Select(i => new ShopProduct($"sku-{i:00}", $"Thing {i}", s_categories[i % s_categories.Length], decimal.Round((decimal)((random.NextDouble() * 180) + 2), 2)))];

        var households = new List<Household>();
        for (int person = 0; person < settings.People;)
        {
            int size = person + 1 < settings.People && (random.Next(25) == 0 || households.Count == 1) ? 2 : 1; // At least one shared device, and one that is used much.
            households.Add(MakeHousehold(households.Count, person, size));
            person += size;
        }

        _households = [.. households];
    }

    /// <summary>All households.</summary>
    public IReadOnlyList<Household> Households => _households;

    /// <summary>Who acts next. A few act much more than the rest.</summary>
    public Household Pick()
    {
        double u = _order.NextDouble();
        return _households[(int)(u * u * _households.Length)];
    }

    /// <summary>The next call of a household, which must be free.</summary>
    /// <param name="household">Who.</param>
    /// <param name="nowMs">True time, Unix ms, at least <see cref="ShopSettings.BatchMax"/> ms after the household's last call was acknowledged.</param>
    public ShopCall Build(Household household, long nowMs)
    {
        Random random = household.Random;
        ShopDevice device = household.Devices[random.Next(household.Devices.Length)];
        int count = random.Next(5) < 2 ? 1 : random.Next(2, _settings.BatchMax + 1);
        bool isBatch = count > 1 || random.Next(4) == 0;
        string? batchSentAt = isBatch && SendsSentAt(device) ? Iso(nowMs + device.SkewMs) : null;

        var events = new List<SentEvent>(count);
        string path = "/v1/batch";
        for (int i = 0; i < count; i++)
        {
            long timeMs = nowMs - count + 1 + i; // One ms apart, the last one now.
            string type = WriteEvent(household, device, timeMs, isBatch ? null : Iso(nowMs + device.SkewMs), nowMs, isBatch);
            events.Add(new SentEvent(_event.WrittenSpan.ToArray(), device.Source.Id, batchSentAt));
            if (!isBatch)
            {
                path = "/v1/" + type;
            }
        }

        household.LastMs = nowMs;
        return new ShopCall(path, Body(events, device, isBatch, batchSentAt), device.Source, device.KeyPlace, events);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _eventWriter.Dispose();
        foreach (Household household in _households)
        {
            household.Dispose();
        }
    }

    private static bool SendsSentAt(ShopDevice device) => device.Clock is ClockStyle.TimestampAndSentAt or ClockStyle.Corrected or ClockStyle.OriginalAndSentAt;

    private static string Iso(long ms) => DateTimeOffset.FromUnixTimeMilliseconds(ms).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    private Household MakeHousehold(int index, int firstPerson, int size)
    {
        var random = new Random(unchecked((_settings.Seed * 1_000_003) + (index * 7919)));
        Shopper[] people = [.. Enumerable.Range(firstPerson, size).Select(i => MakeShopper(i, random))];
        var devices = new List<ShopDevice> { MakeDevice(random, people) };
        if (random.Next(2) == 0)
        {
            devices.Add(MakeDevice(random, [people[0]]));
        }

        return new Household(index, random, people, [.. devices]);
    }

    private Shopper MakeShopper(int i, Random random)
    {
        bool isNumeric = i % 10 == 3;
        return new Shopper
        {
            UserId = isNumeric ? $"{700_000_000 + i}{Math.Abs(StableHash(_settings.Tag)) % 100_000:00000}" : $"u-{_settings.Tag}-{i}",
            HasNumericId = isNumeric,
            Email = $"person{i}@{_settings.Tag}.example",
            Country = s_countries[random.Next(s_countries.Length)],
            Plan = s_plans[random.Next(s_plans.Length)],
            Name = $"Person {i}",
        };
    }

    private ShopDevice MakeDevice(Random random, Shopper[] users)
    {
        bool isWeb = random.Next(3) != 0;
        ClockStyle clock = random.Next(10) switch { < 4 => ClockStyle.Timestamp, < 6 => ClockStyle.TimestampAndSentAt, < 7 => ClockStyle.Corrected, < 9 => ClockStyle.OriginalAndSentAt, _ => ClockStyle.None };
        return new ShopDevice
        {
            IsWeb = isWeb,
            Source = isWeb ? _settings.Web : _settings.App,
            KeyPlace = (KeyPlace)random.Next(3),
            Clock = clock,
            SkewMs = clock is ClockStyle.TimestampAndSentAt or ClockStyle.OriginalAndSentAt && random.Next(2) == 0 ? random.Next(-3 * 3600, 3 * 3600) * 1000L : 0,
            Users = users,
            AnonymousId = NewAnonymousId(random),
        };
    }

    private string NewAnonymousId(Random random)
    {
        Span<byte> bytes = stackalloc byte[16];
        random.NextBytes(bytes);
        BitConverter.TryWriteBytes(bytes, StableHash(_settings.Tag)); // Two runs do not meet.
        return new Guid(bytes).ToString();
    }

    private static int StableHash(string text)
    {
        int hash = 17;
        foreach (char c in text)
        {
            hash = unchecked((hash * 31) + c);
        }

        return hash;
    }

    private ReadOnlyMemory<byte> Body(List<SentEvent> events, ShopDevice device, bool isBatch, string? batchSentAt)
    {
        if (!isBatch && device.KeyPlace != KeyPlace.Body)
        {
            return events[0].Json;
        }

        _body.ResetWrittenCount();
        if (isBatch)
        {
            _body.Write("{\"batch\":["u8);
            for (int i = 0; i < events.Count; i++)
            {
                if (i > 0)
                {
                    _body.Write(","u8);
                }

                _body.Write(events[i].Json.Span);
            }

            _body.Write("]"u8);
            if (batchSentAt is not null)
            {
                WriteProperty("\"sentAt\":"u8, batchSentAt);
            }
        }
        else
        {
            _body.Write(events[0].Json.Span[..^1]);
        }

        if (device.KeyPlace == KeyPlace.Body)
        {
            WriteProperty("\"writeKey\":"u8, device.Source.WriteKey);
        }

        _body.Write("}"u8);
        return _body.WrittenSpan.ToArray();

        void WriteProperty(ReadOnlySpan<byte> name, string value)
        {
            _body.Write(","u8);
            _body.Write(name);
            _body.Write(JsonSerializer.SerializeToUtf8Bytes(value));
        }
    }

    /// <summary>Writes one event to <see cref="_event"/>.</summary>
    /// <returns>Its type, which is also its path.</returns>
    private string WriteEvent(Household household, ShopDevice device, long timeMs, string? sentAt, long nowMs, bool isBatch)
    {
        Random random = household.Random;
        _event.ResetWrittenCount();
        _eventWriter.Reset(_event);
        int dice = random.Next(1000);
        if (dice < 20 && device.Repeatable is { } repeat)
        {
            _event.Write(repeat.Span);
            return TypeOf(repeat.Span);
        }

        if (dice < 35)
        {
            return WriteInvalid(household, device, timeMs, isBatch);
        }

        if (dice < 45)
        {
            return WriteBlocked(household, device, timeMs, sentAt);
        }

        bool isLate = dice < 75;
        string type = WriteAction(household, device, isLate ? nowMs - (long)((0.2 + (random.NextDouble() * 30)) * HourMs) : timeMs, isLate ? null : sentAt, isLate);
        if (!isLate && random.Next(10) == 0)
        {
            device.Repeatable = _event.WrittenSpan.ToArray();
        }

        return type;
    }

    private static string TypeOf(ReadOnlySpan<byte> json)
    {
        using JsonDocument document = JsonDocument.Parse(json.ToArray());
        return document.RootElement.GetProperty("type").GetString()!;
    }

    private string WriteAction(Household household, ShopDevice device, long timeMs, string? sentAt, bool isLate)
    {
        Random random = household.Random;
        int dice = random.Next(100);

        // The shared device: the second person logs in without logging the first one out (RULES.md §3.1: the device stays with the first).
        bool someoneElseLogsIn = device.Users.Length > 1 && device.User is not null && random.Next(10) == 0;
        if ((device.User is null && dice < 12) || someoneElseLogsIn)
        {
            LogIn(device, random);
            WriteIdentify(household, device, timeMs, sentAt, isLate);
            return "identify";
        }

        if (device.User is { } user)
        {
            if (dice < 3)
            {
                user.Plan = s_plans[random.Next(s_plans.Length)];
                WriteIdentify(household, device, timeMs, sentAt, isLate);
                return "identify";
            }

            if (dice < 6 && user.AnonymousIds < MaxAnonymousIds && device.Users.Length == 1)
            {
                LogOut(device, random); // What follows is anonymous, until the next log-in joins it again.
            }
            else if (dice < 8 && device.FormerAnonymousId is { } former)
            {
                Begin(household, device, "alias", timeMs, sentAt, isLate, withAnonymousId: random.Next(2) == 0);
                _eventWriter.WriteString("previousId"u8, former);
                End();
                return "alias";
            }
        }

        if (dice < 30)
        {
            return WritePage(household, device, timeMs, sentAt, isLate, random);
        }

        WriteTrack(household, device, timeMs, sentAt, isLate, random);
        return "track";
    }

    private static void LogIn(ShopDevice device, Random random)
    {
        Shopper next = device.Users[random.Next(device.Users.Length)];
        device.User = next;
        next.AnonymousIds++;
    }

    private void LogOut(ShopDevice device, Random random)
    {
        device.FormerAnonymousId = device.AnonymousId;
        device.AnonymousId = NewAnonymousId(random);
        device.User = null;
        device.Cart.Clear();
        device.Viewed = null;
        device.Repeatable = null;
    }

    private string WritePage(Household household, ShopDevice device, long timeMs, string? sentAt, bool isLate, Random random)
    {
        string type = device.IsWeb ? "page" : "screen";
        string name = s_pages[random.Next(s_pages.Length)];
        Begin(household, device, type, timeMs, sentAt, isLate);
        _eventWriter.WriteString("name"u8, name);
        _eventWriter.WriteStartObject("properties"u8);
        _eventWriter.WriteString("path"u8, "/" + name);
        _eventWriter.WriteEndObject();
        WriteContext(device, random);
        End();
        return type;
    }

    private void WriteTrack(Household household, ShopDevice device, long timeMs, string? sentAt, bool isLate, Random random)
    {
        Begin(household, device, "track", timeMs, sentAt, isLate);
        if (device.Cart.Count > 0 && device.User is not null && random.Next(4) == 0)
        {
            decimal revenue = 0;
            foreach (ShopProduct item in device.Cart)
            {
                revenue += item.Price;
            }

            _eventWriter.WriteString("event"u8, "Order Completed");
            _eventWriter.WriteStartObject("properties"u8);
            _eventWriter.WriteString("order_id"u8, $"o-{household.Index}-{household.NextMessage}");
            if (random.Next(10) == 0)
            {
                _eventWriter.WriteString("revenue"u8, revenue.ToString(CultureInfo.InvariantCulture)); // Some shops send it as text.
            }
            else
            {
                _eventWriter.WriteNumber("revenue"u8, revenue);
            }

            _eventWriter.WriteString("currency"u8, "EUR");
            _eventWriter.WriteNumber("items"u8, device.Cart.Count);
            _eventWriter.WriteString("category"u8, device.Cart[0].Category);
            _eventWriter.WriteEndObject();
            device.Cart.Clear();
        }
        else if (device.Viewed is { } viewed && random.Next(3) == 0)
        {
            device.Cart.Add(viewed);
            device.Viewed = null;
            WriteProduct("Product Added", viewed);
        }
        else
        {
            device.Viewed = _products[(int)(Math.Pow(random.NextDouble(), 2) * _products.Length)];
            WriteProduct("Product Viewed", device.Viewed);
        }

        WriteContext(device, random);
        End();
    }

    private void WriteProduct(string name, ShopProduct product)
    {
        _eventWriter.WriteString("event"u8, name);
        _eventWriter.WriteStartObject("properties"u8);
        _eventWriter.WriteString("product_id"u8, product.Id);
        _eventWriter.WriteString("sku"u8, product.Id);
        _eventWriter.WriteString("name"u8, product.Name);
        _eventWriter.WriteString("category"u8, product.Category);
        _eventWriter.WriteNumber("price"u8, product.Price);
        _eventWriter.WriteString("currency"u8, "EUR");
        _eventWriter.WriteEndObject();
    }

    private void WriteIdentify(Household household, ShopDevice device, long timeMs, string? sentAt, bool isLate)
    {
        Shopper user = device.User!;
        Begin(household, device, "identify", timeMs, sentAt, isLate);

        // Rudder's browser SDK sends the traits in the context only.
        bool inContext = device.Clock == ClockStyle.OriginalAndSentAt;
        if (inContext)
        {
            _eventWriter.WriteStartObject("context"u8);
        }

        _eventWriter.WriteStartObject("traits"u8);
        _eventWriter.WriteString("email"u8, household.Random.Next(3) == 0 ? user.Email.ToUpperInvariant() : user.Email);
        _eventWriter.WriteString("name"u8, user.Name);
        _eventWriter.WriteString("plan"u8, user.Plan);
        _eventWriter.WriteString("country"u8, user.Country);
        _eventWriter.WriteEndObject();
        if (inContext)
        {
            _eventWriter.WriteEndObject();
        }

        End();
    }

    /// <summary>Starts an event with its id, identifiers and time; the caller adds the rest and calls <see cref="End"/>.</summary>
    private void Begin(Household household, ShopDevice device, string type, long timeMs, string? sentAt, bool isLate, bool withAnonymousId = true)
    {
        Random random = household.Random;
        _eventWriter.WriteStartObject();
        _eventWriter.WriteString("type"u8, type);
        _eventWriter.WriteString("messageId"u8, $"sim-{_settings.Tag}-{household.Index}-{household.NextMessage++}");
        if (withAnonymousId)
        {
            _eventWriter.WriteString("anonymousId"u8, device.AnonymousId);
        }

        if (device.User is not { } user)
        {
            if (random.Next(8) == 0)
            {
                _eventWriter.WriteString("userId"u8, ""); // As Rudder's browser SDK before log-in.
            }
        }
        else if (user.HasNumericId && random.Next(2) == 0)
        {
            _eventWriter.WriteNumber("userId"u8, long.Parse(user.UserId, CultureInfo.InvariantCulture));
        }
        else
        {
            _eventWriter.WriteString("userId"u8, user.UserId);
        }

        WriteTime(device, timeMs, sentAt, isLate, random);
    }

    private void WriteTime(ShopDevice device, long timeMs, string? sentAt, bool isLate, Random random)
    {
        if (isLate)
        {
            // Both fields: its sender has corrected it, so its time is exact whatever the clock of the device.
            string late = Iso(timeMs);
            _eventWriter.WriteString("originalTimestamp"u8, late);
            _eventWriter.WriteString("timestamp"u8, late);
            return;
        }

        string text = Iso(timeMs + device.SkewMs);
        switch (device.Clock)
        {
            case ClockStyle.Timestamp when random.Next(10) == 0:
                _eventWriter.WriteNumber("timestamp"u8, timeMs);
                break;
            case ClockStyle.Timestamp when random.Next(10) == 0:
                _eventWriter.WriteString("timestamp"u8, DateTimeOffset.FromUnixTimeMilliseconds(timeMs).ToOffset(TimeSpan.FromHours(2)).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'000000'zzz", CultureInfo.InvariantCulture));
                break;
            case ClockStyle.Timestamp:
            case ClockStyle.TimestampAndSentAt:
                _eventWriter.WriteString("timestamp"u8, text);
                break;
            case ClockStyle.Corrected:
                _eventWriter.WriteString("originalTimestamp"u8, Iso(timeMs + 77_000));
                _eventWriter.WriteString("timestamp"u8, text);
                break;
            case ClockStyle.OriginalAndSentAt:
                _eventWriter.WriteString("originalTimestamp"u8, text);
                break;
            case ClockStyle.None:
            default:
                break;
        }

        if (sentAt is not null && SendsSentAt(device))
        {
            _eventWriter.WriteString("sentAt"u8, sentAt);
        }
    }

    private void WriteContext(ShopDevice device, Random random)
    {
        _eventWriter.WriteStartObject("context"u8);
        _eventWriter.WriteStartObject("library"u8);
        _eventWriter.WriteString("name"u8, device.IsWeb ? "shop-web" : "shop-app");
        _eventWriter.WriteEndObject();
        if (random.Next(12) == 0)
        {
            _eventWriter.WriteStartObject("campaign"u8);
            _eventWriter.WriteString("name"u8, s_campaigns[random.Next(s_campaigns.Length)]);
            _eventWriter.WriteEndObject();
        }

        _eventWriter.WriteEndObject();
    }

    private void End()
    {
        _eventWriter.WriteEndObject();
        _eventWriter.Flush();
    }

    /// <summary>An event with a value that is not an identifier: it counts for its device alone, or for nobody.</summary>
    private string WriteBlocked(Household household, ShopDevice device, long timeMs, string? sentAt)
    {
        Random random = household.Random;
        string blocked = s_blocked[random.Next(s_blocked.Length)];
        bool anonymousToo = random.Next(4) == 0;
        _eventWriter.WriteStartObject();
        _eventWriter.WriteString("type"u8, "track");
        _eventWriter.WriteString("messageId"u8, $"sim-{_settings.Tag}-{household.Index}-{household.NextMessage++}");
        switch (random.Next(4))
        {
            case 0:
                _eventWriter.WriteBoolean("userId"u8, true); // Not even text.
                break;
            case 1:
                _eventWriter.WriteNumber("userId"u8, 12.5);
                break;
            default:
                _eventWriter.WriteString("userId"u8, blocked);
                break;
        }

        _eventWriter.WriteString("anonymousId"u8, anonymousToo ? blocked : device.AnonymousId);
        WriteTime(device, timeMs, sentAt, isLate: false, random);
        WriteProduct("Product Viewed", _products[random.Next(_products.Length)]);
        End();
        return "track";
    }

    /// <summary>An event that becomes a dead letter (RULES.md §1.5).</summary>
    private string WriteInvalid(Household household, ShopDevice device, long timeMs, bool isBatch)
    {
        Random random = household.Random;
        int kind = random.Next(isBatch ? 7 : 5); // A type that nobody knows has no path of its own.
        _eventWriter.WriteStartObject();
        if (kind != 5)
        {
            _eventWriter.WriteString("type"u8, kind == 6 ? "purchase" : "track");
        }

        _eventWriter.WriteString("messageId"u8, $"sim-{_settings.Tag}-{household.Index}-{household.NextMessage++}");
        if (kind != 0)
        {
            _eventWriter.WriteString("anonymousId"u8, device.AnonymousId);
        }

        if (kind == 1)
        {
            _eventWriter.WriteNumber("event"u8, 7);
        }
        else
        {
            _eventWriter.WriteString("event"u8, "Product Viewed");
        }

        if (kind == 2)
        {
            _eventWriter.WriteString("properties"u8, "none");
        }
        else if (kind == 3)
        {
            _eventWriter.WriteString("timestamp"u8, "yesterday");
        }
        else if (kind == 4)
        {
            _eventWriter.WriteStartObject("properties"u8);
            _eventWriter.WriteString("blob"u8, s_padding);
            _eventWriter.WriteEndObject();
        }

        if (kind != 3)
        {
            _eventWriter.WriteString("timestamp"u8, Iso(timeMs));
        }

        End();
        return "track";
    }
}
