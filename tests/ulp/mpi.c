// SPDX-License-Identifier: BSD-2-Clause
/*
 * prxe-mpi: an MPI program that looks at what arrives. Messages of many sizes both ways at once,
 * collectives, one-sided operations. And memory that is dropped, mapped again and forked between
 * and during transfers, as in programs whose authors never heard of registration caches.
 *
 *   mpirun -n N prxe-mpi-IMPLEMENTATION [--churn] [--no-rma] [--rounds N]
 *
 * --churn: also do what works only with on-demand memory (or without a registration cache).
 * --no-rma: without windows, which not every transport has.
 */
#define _GNU_SOURCE
#include "t.h"

#include <getopt.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM (4UL << 20)

static const size_t sizes[] = { 0, 1, 8, 63, 100, 1024, 4096, 5000, 9000, 65536, (1 << 20) + 3 };
static int rank, ranks;

/* The pattern of message @n of one rank to another. */
static uint64_t seq_of(int from, int to, uint64_t n)
{
	return n * 10000 + (uint64_t)from * 100 + (uint64_t)to + 1;
}

/* Exchange with the ranks before and behind, both ways at once, from and to odd addresses. */
static void ring(uint8_t *out, uint8_t *in, uint64_t round)
{
	int next = (rank + 1) % ranks, prev = (rank + ranks - 1) % ranks;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t n = round * ARRAY_LEN(sizes) + i;
		size_t off = 2 * T_PAGE + 1000 + 7 * i, len = sizes[i];
		MPI_Request rq[2];
		MPI_Status st[2];
		int count = -1;

		t_pat_fill(in + off - T_GUARD, len + 2 * T_GUARD, ~n, off);
		t_pat_fill(out + off, len, seq_of(rank, next, n), 0);
		MPI_Irecv(in + off, (int)len, MPI_BYTE, prev, (int)i, MPI_COMM_WORLD, &rq[0]);
		MPI_Isend(out + off, (int)len, MPI_BYTE, next, (int)i, MPI_COMM_WORLD, &rq[1]);
		MPI_Waitall(2, rq, st);
		MPI_Get_count(&st[0], MPI_BYTE, &count);
		if (count != (int)len)
			t_fail("a message of %zu bytes came as one of %d", len, count);
		t_pat_check("message", in + off, len, seq_of(prev, rank, n), 0);
		t_pat_check("before the message", in + off - T_GUARD, T_GUARD, ~n, off);
		t_pat_check("behind the message", in + off + len, T_GUARD, ~n, off + T_GUARD + len);
	}
}

static void collectives(uint8_t *out, uint8_t *in, uint64_t round)
{
	const size_t each = 20011;
	uint64_t sum[64], want;

	for (int to = 0; to < ranks; to++)
		t_pat_fill(out + (size_t)to * each, each, seq_of(rank, to, round), 0);
	MPI_Alltoall(out, (int)each, MPI_BYTE, in, (int)each, MPI_BYTE, MPI_COMM_WORLD);
	for (int from = 0; from < ranks; from++)
		t_pat_check("Alltoall", in + (size_t)from * each, each, seq_of(from, rank, round),
			    0);

	if (!rank)
		t_pat_fill(out, ROOM / 2, round + 5, 0);
	MPI_Bcast(out, ROOM / 2, MPI_BYTE, 0, MPI_COMM_WORLD);
	t_pat_check("Bcast", out, ROOM / 2, round + 5, 0);

	for (size_t i = 0; i < ARRAY_LEN(sum); i++)
		sum[i] = ((uint64_t)rank + 1) * (i + round);
	MPI_Allreduce(MPI_IN_PLACE, sum, ARRAY_LEN(sum), MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
	for (size_t i = 0; i < ARRAY_LEN(sum); i++) {
		want = (uint64_t)ranks * ((uint64_t)ranks + 1) / 2 * (i + round);
		if (sum[i] != want)
			t_fail("Allreduce, element %zu: %llu, expected %llu", i,
			       (unsigned long long)sum[i], (unsigned long long)want);
	}
}

/* A window over @mem: every rank has a slot in every window; behind the slots is a counter. */
static void one_sided(uint8_t *out, uint8_t *in, uint8_t *mem, uint64_t round)
{
	const size_t slot = 300007;
	const MPI_Aint at = (MPI_Aint)rank * (MPI_Aint)slot, ctr = (MPI_Aint)(ROOM - 8);
	uint64_t one = 1, old = 0, seen;
	MPI_Win win;

	memset(mem, 0, ROOM);
	MPI_Win_create(mem, ROOM, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
	MPI_Win_fence(0, win);
	for (int to = 0; to < ranks; to++) {
		uint8_t *p = out + (size_t)to * slot;

		t_pat_fill(p, slot, seq_of(rank, to, round), 0);
		MPI_Put(p, (int)slot, MPI_BYTE, to, at, (int)slot, MPI_BYTE, win);
		MPI_Accumulate(&one, 1, MPI_UINT64_T, to, ctr, 1, MPI_UINT64_T, MPI_SUM, win);
	}
	MPI_Win_fence(0, win);
	for (int from = 0; from < ranks; from++)
		t_pat_check("Put", mem + (size_t)from * slot, slot, seq_of(from, rank, round), 0);
	memcpy(&seen, mem + ctr, 8);
	if (seen != (uint64_t)ranks)
		t_fail("Accumulate: %llu of %d ranks", (unsigned long long)seen, ranks);
	MPI_Win_fence(0, win);
	for (int from = 0; from < ranks; from++)
		MPI_Get(in + (size_t)from * slot, (int)slot, MPI_BYTE, from, at, (int)slot,
			MPI_BYTE, win);
	MPI_Win_fence(MPI_MODE_NOSUCCEED, win);
	for (int from = 0; from < ranks; from++)
		t_pat_check("Get", in + (size_t)from * slot, slot, seq_of(rank, from, round), 0);
	MPI_Win_lock_all(0, win);
	MPI_Fetch_and_op(&one, &old, MPI_UINT64_T, 0, ctr, MPI_SUM, win);
	MPI_Win_flush(0, win);
	if (old < (uint64_t)ranks || old >= 2 * (uint64_t)ranks)
		t_fail("Fetch_and_op: %llu among %d ranks", (unsigned long long)old, ranks);
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Win_sync(win);
	memcpy(&seen, mem + ctr, 8);
	MPI_Win_unlock_all(win);
	if (!rank && seen != 2 * (uint64_t)ranks)
		t_fail("Fetch_and_op: the counter is %llu after %d ranks", (unsigned long long)seen,
		       ranks);
	MPI_Win_free(&win);
}

/*
 * Post a receive, drop its memory, and share it with a child that writes to it. Only then the
 * message is sent.
 */
static void churn(uint8_t *out, uint8_t *in, uint64_t round)
{
	int next = (rank + 1) % ranks, prev = (rank + ranks - 1) % ranks, status;
	const size_t len = ROOM / 2;
	MPI_Request rq;
	pid_t pid;

	t_pat_fill(in, len, 9, 0);
	MPI_Irecv(in, (int)len, MPI_BYTE, prev, 1, MPI_COMM_WORLD, &rq);
	t_drop(in, len / 2);
	pid = fork();
	if (!pid) {
		t_pat_fill(in, len, 10, 0);
		_exit(t_pat_diff(in, len, 10, 0) >= 0);
	}
	t_pat_fill(out, len, seq_of(rank, next, round), 0);
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Send(out, (int)len, MPI_BYTE, next, 1, MPI_COMM_WORLD);
	MPI_Wait(&rq, MPI_STATUS_IGNORE);
	t_pat_check("into memory that was dropped and forked", in, len, seq_of(prev, rank, round),
		    0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		t_fail("the child saw what was received");
	t_pat_check("and it stays", in, len, seq_of(prev, rank, round), 0);
}

/* Map other memory at the same address. */
static void again(uint8_t *p)
{
	if (mmap(p, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) != p)
		t_die("mmap");
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {
		{ "churn", 0, NULL, 'c' }, { "no-rma", 0, NULL, 'n' }, { "rounds", 1, NULL, 'r' },
		{ 0 }
	};
	bool churning = false, rma = true;
	int rounds = 3, c, fails;
	uint8_t *out, *in, *mem;

	t_init();
	MPI_Init(&argc, &argv);
	while ((c = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		switch (c) {
		case 'c': churning = true; break;
		case 'n': rma = false; break;
		case 'r': rounds = atoi(optarg); break;
		default: t_die("usage: prxe-mpi [--churn] [--no-rma] [--rounds N]");
		}
	}
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (ranks > 10)
		t_die("10 ranks at most");
	t_watchdog((unsigned)t_slow(120));
	out = t_map(ROOM);
	in = t_map(ROOM);
	mem = t_map(ROOM);
	for (int r = 0; r < rounds; r++) {
		t_context("rank %d, round %d", rank, r);
		ring(out, in, (uint64_t)r);
		collectives(out, in, (uint64_t)r);
		if (rma)
			one_sided(out, in, mem, (uint64_t)r);
		if (churning)
			churn(out, in, (uint64_t)r);
		again(out);
		again(in);
		again(mem);
	}
	MPI_Allreduce(&t_fails, &fails, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	MPI_Finalize();
	if (!rank && !fails)
		printf("mpi: ok\n");
	return fails != 0;
}
