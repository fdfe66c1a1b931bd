// SPDX-License-Identifier: BSD-2-Clause
/*
 * An MPI program to see that nodes reach each other: each rank sends 4 MiB to the next one, eight
 * times, and looks at every byte that it gets.
 *
 *	mpirun -n 2 --host node1,node2 exchange
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE (4 << 20)
#define ROUNDS 8

static unsigned char want(int rank, int round, size_t at)
{
	return (unsigned char)(at * 31 + (size_t)rank * 7 + (size_t)round + (at >> 12));
}

int main(int argc, char **argv)
{
	unsigned char *out = malloc(SIZE), *in = malloc(SIZE);
	int rank, ranks, len;
	char host[MPI_MAX_PROCESSOR_NAME];
	size_t i, wrong = 0;
	double start;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	MPI_Get_processor_name(host, &len);
	if (!out || !in)
		MPI_Abort(MPI_COMM_WORLD, 1);
	start = MPI_Wtime();
	for (int round = 0; round < ROUNDS; round++) {
		int next = (rank + 1) % ranks, last = (rank + ranks - 1) % ranks;

		for (i = 0; i < SIZE; i++) {
			out[i] = want(rank, round, i);
			in[i] = 0;
		}
		MPI_Sendrecv(out, SIZE, MPI_BYTE, next, round, in, SIZE, MPI_BYTE, last, round,
			     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		for (i = 0; i < SIZE; i++)
			wrong += in[i] != want(last, round, i);
	}
	printf("rank %d of %d on %s: %d MiB, %zu wrong bytes, %.1f s\n", rank, ranks, host,
	       ROUNDS * (SIZE >> 20), wrong, MPI_Wtime() - start);
	MPI_Finalize();
	free(out);
	free(in);
	return wrong ? 1 : 0;
}
