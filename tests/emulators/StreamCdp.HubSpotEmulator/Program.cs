using StreamCdp.HubSpotEmulator;

// dotnet run --project tests/emulators/StreamCdp.HubSpotEmulator -- [PORT]: for clients in other languages. Ends with Ctrl+C.
int port = args.Length > 0 && int.TryParse(args[0], out int given) ? given : 0;
await using EmulatedHubSpot emulator = await EmulatedHubSpot.StartAsync(TimeProvider.System, port: port);
Console.WriteLine($"{emulator.Url} takes the token {EmulatedHubSpot.PrivateAppToken}");
await emulator.WaitForShutdownAsync();
