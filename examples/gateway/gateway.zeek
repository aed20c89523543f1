# What Zeek does with the events that come in through the gateway.

module NetControl;

export {
    global soar_drop: event(host: addr, lasts: interval, why: string);
    global soar_release: event(host: addr);
    global soar_dropped: event(host: addr, rule: string);
}

global soar_rules: table[addr] of string;

event zeek_init()
    {
    Broker::subscribe("/netcontrol/in");
    Broker::listen("127.0.0.1", 9999/tcp);
    }

event soar_drop(host: addr, lasts: interval, why: string)
    {
    # The gateway looks at names and types; values are for the script.
    if ( host in Site::local_nets )
        return;
    soar_rules[host] = NetControl::drop_address(host, lasts, why);
    Broker::publish("/netcontrol/out", soar_dropped, host, soar_rules[host]);
    }

event soar_release(host: addr)
    {
    if ( host in soar_rules )
        NetControl::remove_rule(soar_rules[host], "released");
    delete soar_rules[host];
    }
