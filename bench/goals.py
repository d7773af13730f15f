#!/usr/bin/env python3
"""Holds figures ("name value unit" lines of collect.sh, on standard input) against what we want to reach for remote
sessions, as shares of the limit or of the best peer. Prints a line a goal; fails if one is missed or has no figures."""
import sys

GOALS = [  # scenario, compared with, at least how many times as much
    ('A', 'limit', 0.4), ('E', 'limit', 0.4), ('E', 'fetchmail', 50),
    ('F', 'limit', 0.5), ('G', 'fetchmail', 1),
]


def main():
    figures, missed = {}, False
    for line in sys.stdin:
        sys.stdout.write(line)
        word = line.split()
        if len(word) == 3:
            figures[word[0]] = float(word[1])

    def judge(what, ours, theirs, share):
        nonlocal missed
        if ours is None or not theirs:
            print(f'MISSED {what}: no figures')
            missed = True
            return
        ok = ours / theirs >= share
        missed = missed or not ok
        print(f"{'met   ' if ok else 'MISSED'} {what}: {ours:g} is {ours / theirs:.2f} of {theirs:g}, wanted {share:g}")

    for p in ('pop3', 'imap'):
        for s, other, share in GOALS:
            judge(f'{s} {p}, rate against {other}', figures.get(f'{s}_{p}_mailferry'), figures.get(f'{s}_{p}_{other}'), share)
        ours, theirs = figures.get(f'G_{p}_mailferry_rss'), figures.get(f'G_{p}_fetchmail_rss')
        judge(f'G {p}, memory of fetchmail against ours', theirs, ours, 4)
    return missed


if __name__ == '__main__':
    sys.exit(main())
