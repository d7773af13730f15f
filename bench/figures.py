#!/usr/bin/env python3
"""Prints the medians of the harness's raw lines as "name value unit"; fails if a client has no result."""
import collections, json, statistics, sys

UNIT = {'A': 'messages/s', 'B': 'messages/s', 'C': 'messages/s', 'E': 'messages/s', 'D': 'accounts/s', 'G': 'accounts/s', 'F': 'polls/s'}


def amount(r):
    """What a run got through: of a run that was cut off, what had arrived by then."""
    if r['scenario'] in 'DG':
        return r['accounts']
    if r['scenario'] == 'F':
        return 1
    return r['got'] if r['timed_out'] else r['want']


def trouble(r):
    """Why a run is no result, or None. A slow client that collects is cut off on purpose."""
    if r['timed_out']:
        return None if r['scenario'] in 'ABCE' and r['got'] else 'cut off'
    if r['rc'] != 0:
        return f"exit {r['rc']}"
    if r['got'] is not None and r['got'] != r['want']:
        return f"{r['got']} of {r['want']} messages arrived"
    return None


def main(path):
    rows, failed = collections.defaultdict(list), False
    for line in open(path):
        r = json.loads(line)
        rows[r['scenario'], r['proto'], r['client']].append(r)
    for (s, p, c), rs in rows.items():
        name = f'{s}_{p}_{c}'
        bad = [t for t in map(trouble, rs) if t]
        if bad:
            print(f'# {name}: no result: {", ".join(bad)}', file=sys.stderr)
            failed = True
        good = [r for r in rs if not trouble(r)]
        if not good:
            continue
        rate = statistics.median(amount(r) / r['wall'] for r in good)
        cpu = lambda *keys: statistics.median(sum(r[k] for k in keys) for r in good)
        print(f'{name} {rate:.{2 if rate < 100 else 0}f} {UNIT[s]}')
        print(f"{name}_client_cpu {cpu('client_cpu', 'deps_cpu'):.2f} s")
        print(f"{name}_all_cpu {cpu('client_cpu', 'deps_cpu', 'remote_cpu', 'sink_cpu', 'proxy_cpu'):.2f} s")
        print(f"{name}_rss {cpu('rss_mb'):.0f} MB")
    return failed


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
