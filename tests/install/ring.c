// SPDX-License-Identifier: BSD-2-Clause
/*
 * An MPI program as anybody's: each of two or more ranks sends blocks to the next one, which looks
 * at every byte. For the commands of README (life.sh IMAGE readme).
 *
 *   mpicc ring.c -o program && mpirun -n 2 ./program
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES (4UL << 20)
#define ROUNDS 20

/* The byte at @at of what @rank sends in @round. */
static uint8_t pattern(int rank, int round, size_t at)
{
	return (uint8_t)(at * 7 + at / 4096 + (size_t)rank * 31 + (size_t)round * 101);
}

int main(int argc, char **argv)
{
	uint8_t *out = malloc(BYTES), *in = malloc(BYTES);
	unsigned long wrong = 0, all = 0;
	int rank, ranks;

	if (!out || !in || MPI_Init(&argc, &argv) != MPI_SUCCESS)
		return 1;
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	for (int round = 0; round < ROUNDS; round++) {
		int from = (rank + ranks - 1) % ranks;

		for (size_t i = 0; i < BYTES; i++)
			out[i] = pattern(rank, round, i);
		MPI_Sendrecv(out, BYTES, MPI_BYTE, (rank + 1) % ranks, round, in, BYTES, MPI_BYTE,
			     from, round, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		for (size_t i = 0; i < BYTES; i++)
			wrong += in[i] != pattern(from, round, i);
	}
	MPI_Reduce(&wrong, &all, 1, MPI_UNSIGNED_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
	if (!rank)
		printf("%d ranks, %d blocks of %lu bytes each: %lu bytes wrong\n", ranks, ROUNDS,
		       BYTES, all);
	MPI_Finalize();
	return wrong != 0;
}
