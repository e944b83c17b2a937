#include "textflag.h"

// What each function does is said in kernel.go. In all of them SI is what is scanned, DI the results,
// BX their number, and AX how far the scan has come.

// ---------------------------------------------------------------------------------------------
// Probes, for both instruction sets

// func prefetchOffsetsAsm(off []uint32, masks []uint16, c uint16, shift uint)
TEXT ·prefetchOffsetsAsm(SB), NOSPLIT, $0-64
	MOVQ    off_base+0(FP), SI
	MOVQ    masks_base+24(FP), DX
	MOVQ    masks_len+32(FP), R9
	MOVWLZX c+48(FP), R8
	MOVQ    shift+56(FP), CX
	LEAQ    (DX)(R9*2), R9

loop:
	CMPQ       DX, R9
	JEQ        done
	MOVWLZX    (DX), AX
	XORL       R8, AX
	SHRL       CX, AX
	PREFETCHT0 (SI)(AX*4)
	ADDQ       $2, DX
	JMP        loop

done:
	RET

// func rangesAsm(off []uint32, masks []uint16, c uint16, shift uint, sketch []uint32, out []Range) (total int)
TEXT ·rangesAsm(SB), NOSPLIT, $0-120
	MOVQ    off_base+0(FP), SI
	MOVQ    masks_base+24(FP), DX
	MOVQ    masks_len+32(FP), R9
	MOVWLZX c+48(FP), R8
	MOVQ    shift+56(FP), CX
	MOVQ    sketch_base+64(FP), R10
	MOVQ    out_base+88(FP), DI
	LEAQ    (DX)(R9*2), R9
	XORL    BX, BX

loop:
	CMPQ    DX, R9
	JEQ     done
	MOVWLZX (DX), AX
	XORL    R8, AX
	SHRL    CX, AX
	MOVQ    (SI)(AX*4), R11
	MOVQ    R11, (DI)
	MOVL    R11, AX         // Lo
	SHRQ    $32, R11        // Hi
	ADDQ    R11, BX
	SUBQ    AX, BX

	// Four lines, each no further than the bucket's end: a line twice costs less than one for nothing.
	PREFETCHT0 (R10)(AX*4)
	ADDQ       $16, AX
	CMPQ       AX, R11
	CMOVQGT    R11, AX
	PREFETCHT0 (R10)(AX*4)
	ADDQ       $16, AX
	CMPQ       AX, R11
	CMOVQGT    R11, AX
	PREFETCHT0 (R10)(AX*4)
	ADDQ       $16, AX
	CMPQ       AX, R11
	CMOVQGT    R11, AX
	PREFETCHT0 (R10)(AX*4)
	ADDQ       $2, DX
	ADDQ       $8, DI
	JMP        loop

done:
	MOVQ BX, total+112(FP)
	RET

// func prefetchRowsAsm(plane []uint64, rows []uint32)
TEXT ·prefetchRowsAsm(SB), NOSPLIT, $0-48
	MOVQ plane_base+0(FP), SI
	MOVQ rows_base+24(FP), DX
	MOVQ rows_len+32(FP), CX
	LEAQ (DX)(CX*4), CX

loop:
	CMPQ       DX, CX
	JEQ        done
	MOVL       (DX), AX
	MOVQ       AX, R8
	ANDL       $7, R8
	SUBQ       R8, AX            // 8 * block
	SHLQ       $4, AX
	LEAQ       (AX)(R8*8), AX
	PREFETCHT0 (SI)(AX*1)
	PREFETCHT0 64(SI)(AX*1)
	ADDQ       $4, DX
	JMP        loop

done:
	RET

// func prefetchValuesAsm(base unsafe.Pointer, size uintptr, at []uint32)
TEXT ·prefetchValuesAsm(SB), NOSPLIT, $0-40
	MOVQ base+0(FP), SI
	MOVQ size+8(FP), R8
	MOVQ at_base+16(FP), DX
	MOVQ at_len+24(FP), CX
	LEAQ (DX)(CX*4), CX

loop:
	CMPQ       DX, CX
	JEQ        done
	MOVL       (DX), AX
	IMULQ      R8, AX
	PREFETCHT0 (SI)(AX*1)
	ADDQ       $4, DX
	JMP        loop

done:
	RET

// ---------------------------------------------------------------------------------------------
// AVX-512

DATA ·counting<>+0(SB)/8, $0x0000000100000000
DATA ·counting<>+8(SB)/8, $0x0000000300000002
DATA ·counting<>+16(SB)/8, $0x0000000500000004
DATA ·counting<>+24(SB)/8, $0x0000000700000006
DATA ·counting<>+32(SB)/8, $0x0000000900000008
DATA ·counting<>+40(SB)/8, $0x0000000b0000000a
DATA ·counting<>+48(SB)/8, $0x0000000d0000000c
DATA ·counting<>+56(SB)/8, $0x0000000f0000000e
GLOBL ·counting<>(SB), RODATA|NOPTR, $64

// K1 = the lanes of count that are at most limit; is there one?
#define WITHIN(limit, count) \
	VPCMPUQ  $2, limit, count, K1; \
	KORTESTB K1, K1

// The counts of 8 rows of a block, in x.
#define COUNT128(p, w0, w1, x, y) \
	VPXORQ   (p), w0, x; \
	VPXORQ   64(p), w1, y; \
	VPOPCNTQ x, x; \
	VPOPCNTQ y, y; \
	VPADDQ   y, x, x

// Writes first + i for each bit i of K1 to DI[BX:], which has 8 places; R10 = the number of bits.
// Z19 is counting.
#define EMIT8(first) \
	KMOVB        K1, R10; \
	VPBROADCASTD first, Y4; \
	VPADDD       Y19, Y4, Y4; \
	VPCOMPRESSD  Y4, K1, Y4; \
	VMOVDQU32    Y4, (DI)(BX*4); \
	POPCNTL      R10, R10

// func flat128AVX512(a []uint64, q0, q1 uint64, radius int, out []uint32) (n, blocks int)
TEXT ·flat128AVX512(SB), NOSPLIT, $0-88
	MOVQ         a_base+0(FP), SI
	MOVQ         a_len+8(FP), CX
	VPBROADCASTQ q0+24(FP), Z16
	VPBROADCASTQ q1+32(FP), Z17
	VPBROADCASTQ radius+40(FP), Z18
	MOVQ         out_base+48(FP), DI
	MOVQ         out_len+56(FP), R8
	VMOVDQU32    ·counting<>(SB), Z19
	SUBQ         $8, R8
	SHRQ         $4, CX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JEQ        done
	COUNT128(SI, Z16, Z17, Z0, Z1)
	WITHIN(Z18, Z0)
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	LEAQ       128(SI), SI
	LEAQ       1(AX), AX
	JEQ        loop
	LEAL       -8(AX*8), R11
	EMIT8(R11)
	ADDQ       R10, BX
	CMPQ       BX, R8
	JLE        loop

done:
	MOVQ BX, n+72(FP)
	MOVQ AX, blocks+80(FP)
	VZEROUPPER
	RET

// func flat256AVX512(a, b []uint64, q0, q1, q2, q3 uint64, radius int, out []uint32) (n, blocks int)
TEXT ·flat256AVX512(SB), NOSPLIT, $0-128
	MOVQ         a_base+0(FP), SI
	MOVQ         a_len+8(FP), CX
	MOVQ         b_base+24(FP), DX
	VPBROADCASTQ q0+48(FP), Z16
	VPBROADCASTQ q1+56(FP), Z17
	VPBROADCASTQ q2+64(FP), Z20
	VPBROADCASTQ q3+72(FP), Z21
	VPBROADCASTQ radius+80(FP), Z18
	MOVQ         out_base+88(FP), DI
	MOVQ         out_len+96(FP), R8
	VMOVDQU32    ·counting<>(SB), Z19
	SUBQ         $8, R8
	SHRQ         $4, CX
	SUBQ         $128, DX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JEQ        done
	COUNT128(SI, Z16, Z17, Z0, Z1)
	WITHIN(Z18, Z0)
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	LEAQ       128(SI), SI
	LEAQ       128(DX), DX
	LEAQ       1(AX), AX
	JEQ        loop
	COUNT128(DX, Z20, Z21, Z2, Z3)
	VPADDQ     Z2, Z0, Z0
	PREFETCHT0 2048(DX)
	PREFETCHT0 2112(DX)
	WITHIN(Z18, Z0)
	JEQ        loop
	LEAL       -8(AX*8), R11
	EMIT8(R11)
	ADDQ       R10, BX
	CMPQ       BX, R8
	JLE        loop

done:
	MOVQ BX, n+112(FP)
	MOVQ AX, blocks+120(FP)
	VZEROUPPER
	RET

// func flat64AVX512(words []uint64, q uint64, radius int, out []uint32) (n, read int)
TEXT ·flat64AVX512(SB), NOSPLIT, $0-80
	MOVQ         words_base+0(FP), SI
	MOVQ         words_len+8(FP), CX
	VPBROADCASTQ q+24(FP), Z16
	VPBROADCASTQ radius+32(FP), Z18
	MOVQ         out_base+40(FP), DI
	MOVQ         out_len+48(FP), R8
	VMOVDQU32    ·counting<>(SB), Z19
	SUBQ         $8, R8
	SUBQ         $8, CX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JGT        tail
	VPXORQ     (SI)(AX*8), Z16, Z0
	VPOPCNTQ   Z0, Z0
	WITHIN(Z18, Z0)
	PREFETCHT0 2048(SI)(AX*8)
	LEAQ       8(AX), AX
	JEQ        loop
	LEAL       -8(AX), R11
	EMIT8(R11)
	ADDQ       R10, BX
	CMPQ       BX, R8
	JLE        loop
	JMP        done

tail: // of fewer than 8
	ADDQ        $8, CX
	SUBQ        AX, CX
	JEQ         done
	MOVL        $-1, R10
	BZHIL       CX, R10, R10
	KMOVB       R10, K2
	VMOVDQU64.Z (SI)(AX*8), K2, Z0
	VPXORQ      Z16, Z0, Z0
	VPOPCNTQ    Z0, Z0
	VPCMPUQ     $2, Z18, Z0, K2, K1
	EMIT8(AX)
	ADDQ        R10, BX
	ADDQ        CX, AX

done:
	MOVQ BX, n+64(FP)
	MOVQ AX, read+72(FP)
	VZEROUPPER
	RET

// x = the lesser of the counts of two queries a and b, for each row of Z0, Z1. The counts fill no more
// than the lower half of a lane, where VPMINUD is the faster minimum.
#define LEAST2(a0, a1, b0, b1, x, x1, y, y1) \
	VPXORQ   Z0, a0, x; \
	VPXORQ   Z1, a1, x1; \
	VPXORQ   Z0, b0, y; \
	VPXORQ   Z1, b1, y1; \
	VPOPCNTQ x, x; \
	VPOPCNTQ x1, x1; \
	VPOPCNTQ y, y; \
	VPOPCNTQ y1, y1; \
	VPADDQ   x1, x, x; \
	VPADDQ   y1, y, y; \
	VPMINUD  y, x, x

// func flat128x8AVX512(a []uint64, q *[batch][2]uint64, radius int, rows []uint32, queries []uint8) (n, blocks int)
TEXT ·flat128x8AVX512(SB), NOSPLIT, $0-104
	MOVQ         a_base+0(FP), SI
	MOVQ         a_len+8(FP), CX
	MOVQ         q+24(FP), DX
	VPBROADCASTQ radius+32(FP), Z15
	MOVQ         rows_base+40(FP), DI
	MOVQ         rows_len+48(FP), R8
	MOVQ         queries_base+64(FP), R9
	VPBROADCASTQ 0(DX), Z16
	VPBROADCASTQ 8(DX), Z17
	VPBROADCASTQ 16(DX), Z18
	VPBROADCASTQ 24(DX), Z19
	VPBROADCASTQ 32(DX), Z20
	VPBROADCASTQ 40(DX), Z21
	VPBROADCASTQ 48(DX), Z22
	VPBROADCASTQ 56(DX), Z23
	VPBROADCASTQ 64(DX), Z24
	VPBROADCASTQ 72(DX), Z25
	VPBROADCASTQ 80(DX), Z26
	VPBROADCASTQ 88(DX), Z27
	VPBROADCASTQ 96(DX), Z28
	VPBROADCASTQ 104(DX), Z29
	VPBROADCASTQ 112(DX), Z30
	VPBROADCASTQ 120(DX), Z31
	VMOVDQU32    ·counting<>(SB), Z14
	SUBQ         $64, R8
	SHRQ         $4, CX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JEQ        done
	VMOVDQU64  (SI), Z0
	VMOVDQU64  64(SI), Z1
	LEAST2(Z16, Z17, Z18, Z19, Z2, Z3, Z4, Z5)
	LEAST2(Z20, Z21, Z22, Z23, Z6, Z7, Z8, Z9)
	LEAST2(Z24, Z25, Z26, Z27, Z10, Z11, Z12, Z13)
	LEAST2(Z28, Z29, Z30, Z31, Z3, Z4, Z5, Z7)
	VPMINUD    Z6, Z2, Z2
	VPMINUD    Z10, Z3, Z3
	VPMINUD    Z3, Z2, Z2
	WITHIN(Z15, Z2)
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	LEAQ       128(SI), SI
	LEAQ       1(AX), AX
	JEQ        loop

	// Which queries?
	LEAL         -8(AX*8), R11
	VPBROADCASTD R11, Y5
	VPADDD       Y14, Y5, Y5
	XORL         R12, R12

query:
	MOVQ         R12, R13
	SHLQ         $4, R13
	VPXORQ.BCST  (DX)(R13*1), Z0, Z2
	VPXORQ.BCST  8(DX)(R13*1), Z1, Z3
	VPOPCNTQ     Z2, Z2
	VPOPCNTQ     Z3, Z3
	VPADDQ       Z3, Z2, Z2
	WITHIN(Z15, Z2)
	JEQ          next
	KMOVB        K1, R10
	VPCOMPRESSD  Y5, K1, Y4
	VMOVDQU32    Y4, (DI)(BX*4)
	VPBROADCASTB R12, X4
	VMOVQ        X4, (R9)(BX*1)
	POPCNTL      R10, R10
	ADDQ         R10, BX

next:
	INCQ R12
	CMPQ R12, $8
	JLT  query
	CMPQ BX, R8
	JLE  loop

done:
	MOVQ BX, n+88(FP)
	MOVQ AX, blocks+96(FP)
	VZEROUPPER
	RET

// func scanAVX512(sketch []uint32, ranges []Range, q uint32, limit int, out []uint32) (n, done int)
TEXT ·scanAVX512(SB), NOSPLIT, $0-104
	MOVQ         sketch_base+0(FP), SI
	MOVQ         ranges_base+24(FP), DX
	MOVQ         ranges_len+32(FP), R9
	MOVL         q+48(FP), AX
	VPBROADCASTD AX, Z16
	MOVQ         limit+56(FP), AX
	VPBROADCASTD AX, Z18
	MOVQ         out_base+64(FP), DI
	MOVQ         out_len+72(FP), R8
	VMOVDQU32    ·counting<>(SB), Z19
	LEAQ         (DX)(R9*8), R9
	XORL         BX, BX

range:
	CMPQ DX, R9
	JEQ  done
	MOVL (DX), AX
	MOVL 4(DX), CX
	MOVQ CX, R10
	SUBQ AX, R10
	JLE  next
	SUBQ R8, R10    // size - len(out) <= -n
	ADDQ BX, R10
	JGT  done

loop:
	VPXORD   (SI)(AX*4), Z16, Z0
	VPOPCNTD Z0, Z0
	VPCMPUD  $2, Z18, Z0, K1
	KORTESTW K1, K1
	JNE      hit

more:
	ADDQ $16, AX
	CMPQ AX, CX
	JLT  loop

next:
	ADDQ $8, DX
	JMP  range

hit: // drop those behind the range, and write the rest
	MOVL         $16, R11
	MOVQ         CX, R10
	SUBQ         AX, R10
	CMPQ         R10, R11
	CMOVQGT      R11, R10
	KMOVW        K1, R11
	BZHIL        R10, R11, R11
	KMOVW        R11, K1
	VPBROADCASTD AX, Z1
	VPADDD       Z19, Z1, Z1
	VPCOMPRESSD  Z1, K1, Z1
	POPCNTL      R11, R11
	MOVL         $-1, R10
	BZHIL        R11, R10, R10
	KMOVW        R10, K1
	VMOVDQU32    Z1, K1, (DI)(BX*4)
	ADDQ         R11, BX
	JMP          more

done:
	SUBQ ranges_base+24(FP), DX
	SHRQ $3, DX
	MOVQ BX, n+88(FP)
	MOVQ DX, done+96(FP)
	VZEROUPPER
	RET

// func joinBucketAVX512(rows, queries []uint32, limit int, out []Pair) (n, done int)
TEXT ·joinBucketAVX512(SB), NOSPLIT, $0-96
	MOVQ         rows_base+0(FP), SI
	MOVQ         rows_len+8(FP), CX
	MOVQ         queries_base+24(FP), DX
	MOVQ         queries_len+32(FP), R9
	MOVQ         limit+48(FP), AX
	VPBROADCASTD AX, Z18
	MOVQ         out_base+56(FP), DI
	MOVQ         out_len+64(FP), R8
	SUBQ         CX, R8
	XORL         BX, BX
	XORL         AX, AX

query:
	CMPQ         AX, R9
	JEQ          done
	CMPQ         BX, R8
	JGT          done
	VPBROADCASTD (DX)(AX*4), Z16
	XORL         R10, R10

loop:
	VPXORD   (SI)(R10*4), Z16, Z0
	VPOPCNTD Z0, Z0
	VPCMPUD  $2, Z18, Z0, K1
	KORTESTW K1, K1
	JNE      hits

more:
	ADDQ $16, R10
	CMPQ R10, CX
	JLT  loop
	INCQ AX
	JMP  query

hits:
	KMOVW K1, R11

hit:
	BSFL R11, R12
	ADDQ R10, R12
	CMPQ R12, CX
	JGE  more
	MOVL R12, (DI)(BX*8)
	MOVL AX, 4(DI)(BX*8)
	INCQ BX
	LEAL -1(R11), R12
	ANDL R12, R11
	JNE  hit
	JMP  more

done:
	MOVQ BX, n+80(FP)
	MOVQ AX, done+88(FP)
	VZEROUPPER
	RET

// ---------------------------------------------------------------------------------------------
// AVX2

DATA ·nibbles<>+0(SB)/8, $0x0302020102010100 // the population counts of 0 to 15
DATA ·nibbles<>+8(SB)/8, $0x0403030203020201
GLOBL ·nibbles<>(SB), RODATA|NOPTR, $16

// Each byte of r is v.
#define BYTES(v, x, r) \
	MOVL         v, R10; \
	VMOVD        R10, x; \
	VPBROADCASTB x, r

// What POPCOUNT and ROWS8 expect.
#define CONSTANTS \
	BYTES($0x0f, X14, Y14); \
	VBROADCASTI128 ·nibbles<>(SB), Y15; \
	VPXOR          Y13, Y13, Y13

// The population counts of the bytes of x, in x.
#define POPCOUNT(x, t) \
	VPSRLW  $4, x, t; \
	VPAND   Y14, x, x; \
	VPAND   Y14, t, t; \
	VPSHUFB x, Y15, x; \
	VPSHUFB t, Y15, t; \
	VPADDB  t, x, x

// The counts of 4 rows of a block, by the byte, in x.
#define COUNT128Y(off, p, w0, w1, x, y, t, u) \
	VPXOR  off(p), w0, x; \
	VPXOR  off+64(p), w1, y; \
	POPCOUNT(x, t); \
	POPCOUNT(y, u); \
	VPADDB y, x, x

// Bit i of R10 is set if row i, of the counts by the byte in Y0 (rows 0 to 3) and Y4 (rows 4 to 7), is
// at most the radius, which Y12 has in each 32-bit lane. Is there one?
#define ROWS8 \
	VPSADBW   Y13, Y0, Y1; \
	VPSADBW   Y13, Y4, Y5; \
	VSHUFPS   $0x88, Y5, Y1, Y1; \
	VPCMPGTD  Y12, Y1, Y1; \
	VPERMQ    $0xd8, Y1, Y1; \
	VMOVMSKPS Y1, R10; \
	XORL      $0xff, R10

// Writes first + i for each bit i of R10, which is not 0, to DI[BX:].
#define EMITY(label, first) \
label: \
	BSFL R10, R11; \
	ADDL first, R11; \
	MOVL R11, (DI)(BX*4); \
	INCQ BX; \
	LEAL -1(R10), R11; \
	ANDL R11, R10; \
	JNE  label

// func flat128AVX2(a []uint64, q0, q1 uint64, radius int, out []uint32) (n, blocks int)
TEXT ·flat128AVX2(SB), NOSPLIT, $0-88
	MOVQ         a_base+0(FP), SI
	MOVQ         a_len+8(FP), CX
	VPBROADCASTQ q0+24(FP), Y8
	VPBROADCASTQ q1+32(FP), Y9
	MOVQ         radius+40(FP), R10
	VMOVD        R10, X12
	VPBROADCASTD X12, Y12
	MOVQ         out_base+48(FP), DI
	MOVQ         out_len+56(FP), R8
	CONSTANTS
	SUBQ         $8, R8
	SHRQ         $4, CX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JEQ        done
	COUNT128Y(0, SI, Y8, Y9, Y0, Y1, Y2, Y3)
	COUNT128Y(32, SI, Y8, Y9, Y4, Y5, Y6, Y7)
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	ADDQ       $128, SI
	INCQ       AX
	ROWS8
	JEQ        loop
	LEAL       -8(AX*8), R12
	EMITY(emit, R12)
	CMPQ       BX, R8
	JLE        loop

done:
	MOVQ BX, n+72(FP)
	MOVQ AX, blocks+80(FP)
	VZEROUPPER
	RET

// func flat256AVX2(a, b []uint64, q0, q1, q2, q3 uint64, radius int, out []uint32) (n, blocks int)
TEXT ·flat256AVX2(SB), NOSPLIT, $0-128
	MOVQ         a_base+0(FP), SI
	MOVQ         a_len+8(FP), CX
	MOVQ         b_base+24(FP), DX
	VPBROADCASTQ q0+48(FP), Y8
	VPBROADCASTQ q1+56(FP), Y9
	VPBROADCASTQ q2+64(FP), Y10
	VPBROADCASTQ q3+72(FP), Y11
	MOVQ         radius+80(FP), R10
	VMOVD        R10, X12
	VPBROADCASTD X12, Y12
	MOVQ         out_base+88(FP), DI
	MOVQ         out_len+96(FP), R8
	CONSTANTS
	SUBQ         $8, R8
	SHRQ         $4, CX
	SUBQ         $128, DX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JEQ        done
	COUNT128Y(0, SI, Y8, Y9, Y0, Y1, Y2, Y3)
	COUNT128Y(32, SI, Y8, Y9, Y4, Y5, Y6, Y7)
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	ADDQ       $128, SI
	ADDQ       $128, DX
	INCQ       AX
	ROWS8
	JEQ        loop
	PREFETCHT0 2048(DX)
	PREFETCHT0 2112(DX)
	COUNT128Y(0, DX, Y10, Y11, Y1, Y2, Y3, Y5)
	VPADDB     Y1, Y0, Y0
	COUNT128Y(32, DX, Y10, Y11, Y1, Y2, Y3, Y5)
	VPADDB     Y1, Y4, Y4
	ROWS8
	JEQ        loop
	LEAL       -8(AX*8), R12
	EMITY(emit, R12)
	CMPQ       BX, R8
	JLE        loop

done:
	MOVQ BX, n+112(FP)
	MOVQ AX, blocks+120(FP)
	VZEROUPPER
	RET

// func flat64AVX2(words []uint64, q uint64, radius int, out []uint32) (n, read int)
TEXT ·flat64AVX2(SB), NOSPLIT, $0-80
	MOVQ         words_base+0(FP), SI
	MOVQ         words_len+8(FP), CX
	VPBROADCASTQ q+24(FP), Y8
	MOVQ         radius+32(FP), R10
	VMOVD        R10, X12
	VPBROADCASTD X12, Y12
	MOVQ         out_base+40(FP), DI
	MOVQ         out_len+48(FP), R8
	CONSTANTS
	SUBQ         $8, R8
	SUBQ         $8, CX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JGT        tail
	VPXOR      (SI)(AX*8), Y8, Y0
	VPXOR      32(SI)(AX*8), Y8, Y4
	POPCOUNT(Y0, Y1)
	POPCOUNT(Y4, Y5)
	PREFETCHT0 2048(SI)(AX*8)
	ADDQ       $8, AX
	ROWS8
	JEQ        loop
	LEAL       -8(AX), R12
	EMITY(emit, R12)
	CMPQ       BX, R8
	JLE        loop
	JMP        done

tail: // of fewer than 8
	ADDQ $8, CX
	MOVQ q+24(FP), R8
	MOVQ radius+32(FP), R9

last:
	CMPQ    AX, CX
	JEQ     done
	MOVQ    (SI)(AX*8), R10
	XORQ    R8, R10
	POPCNTQ R10, R10
	MOVQ    AX, R11
	INCQ    AX
	CMPQ    R10, R9
	JGT     last
	MOVL    R11, (DI)(BX*4)
	INCQ    BX
	JMP     last

done:
	MOVQ BX, n+64(FP)
	MOVQ AX, read+72(FP)
	VZEROUPPER
	RET

// func flat128x8AVX2(a []uint64, q *[batch][2]uint64, radius int, rows []uint32, queries []uint8) (n, blocks int)
TEXT ·flat128x8AVX2(SB), NOSPLIT, $0-104
	MOVQ         a_base+0(FP), SI
	MOVQ         a_len+8(FP), CX
	MOVQ         q+24(FP), DX
	MOVQ         radius+32(FP), R10
	VMOVD        R10, X12
	VPBROADCASTD X12, Y12
	MOVQ         rows_base+40(FP), DI
	MOVQ         rows_len+48(FP), R8
	MOVQ         queries_base+64(FP), R9
	CONSTANTS
	SUBQ         $64, R8
	SHRQ         $4, CX
	XORL         BX, BX
	XORL         AX, AX

loop:
	CMPQ       AX, CX
	JEQ        done
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	LEAL       (AX*8), R12
	XORL       R13, R13

query:
	VPBROADCASTQ (DX), Y8
	VPBROADCASTQ 8(DX), Y9
	COUNT128Y(0, SI, Y8, Y9, Y0, Y1, Y2, Y3)
	COUNT128Y(32, SI, Y8, Y9, Y4, Y5, Y6, Y7)
	ROWS8
	JNE          hit

next:
	ADDQ $16, DX
	INCL R13
	CMPL R13, $8
	JLT  query
	SUBQ $128, DX
	ADDQ $128, SI
	INCQ AX
	CMPQ BX, R8
	JLE  loop
	JMP  done

hit:
	MOVB R13, (R9)(BX*1)
	BSFL R10, R11
	ADDL R12, R11
	MOVL R11, (DI)(BX*4)
	INCQ BX
	LEAL -1(R10), R11
	ANDL R11, R10
	JNE  hit
	JMP  next

done:
	MOVQ BX, n+88(FP)
	MOVQ AX, blocks+96(FP)
	VZEROUPPER
	RET

// What WITHIN32 expects besides: the limit in Y12.
#define CONSTANTS32 \
	CONSTANTS; \
	BYTES($1, X10, Y10); \
	VPSRLW $8, Y10, Y11

// Bit i of R11 is set if 32-bit lane i of Y0 has at most as many bits as the limit. Is there one?
#define WITHIN32 \
	POPCOUNT(Y0, Y1); \
	VPMADDUBSW Y10, Y0, Y0; \
	VPMADDWD   Y11, Y0, Y0; \
	VPCMPGTD   Y12, Y0, Y0; \
	VMOVMSKPS  Y0, R11; \
	XORL       $0xff, R11

// func scanAVX2(sketch []uint32, ranges []Range, q uint32, limit int, out []uint32) (n, done int)
TEXT ·scanAVX2(SB), NOSPLIT, $0-104
	MOVQ         sketch_base+0(FP), SI
	MOVQ         ranges_base+24(FP), DX
	MOVQ         ranges_len+32(FP), R9
	MOVL         q+48(FP), R10
	VMOVD        R10, X8
	VPBROADCASTD X8, Y8
	MOVQ         limit+56(FP), R10
	VMOVD        R10, X12
	VPBROADCASTD X12, Y12
	MOVQ         out_base+64(FP), DI
	MOVQ         out_len+72(FP), R8
	CONSTANTS32
	LEAQ         (DX)(R9*8), R9
	XORL         BX, BX

range:
	CMPQ DX, R9
	JEQ  done
	MOVL (DX), AX
	MOVL 4(DX), CX
	MOVQ CX, R10
	SUBQ AX, R10
	JLE  next
	SUBQ R8, R10    // size - len(out) <= -n
	ADDQ BX, R10
	JGT  done

loop:
	VPXOR (SI)(AX*4), Y8, Y0
	WITHIN32
	JNE   hit

more:
	ADDQ $8, AX
	CMPQ AX, CX
	JLT  loop

next:
	ADDQ $8, DX
	JMP  range

hit:
	BSFL R11, R12
	ADDQ AX, R12
	CMPQ R12, CX
	JGE  next
	MOVL R12, (DI)(BX*4)
	INCQ BX
	LEAL -1(R11), R12
	ANDL R12, R11
	JNE  hit
	JMP  more

done:
	SUBQ ranges_base+24(FP), DX
	SHRQ $3, DX
	MOVQ BX, n+88(FP)
	MOVQ DX, done+96(FP)
	VZEROUPPER
	RET

// func joinBucketAVX2(rows, queries []uint32, limit int, out []Pair) (n, done int)
TEXT ·joinBucketAVX2(SB), NOSPLIT, $0-96
	MOVQ         rows_base+0(FP), SI
	MOVQ         rows_len+8(FP), CX
	MOVQ         queries_base+24(FP), DX
	MOVQ         queries_len+32(FP), R9
	MOVQ         limit+48(FP), R10
	VMOVD        R10, X12
	VPBROADCASTD X12, Y12
	MOVQ         out_base+56(FP), DI
	MOVQ         out_len+64(FP), R8
	CONSTANTS32
	SUBQ         CX, R8
	XORL         BX, BX
	XORL         AX, AX

query:
	CMPQ         AX, R9
	JEQ          done
	CMPQ         BX, R8
	JGT          done
	VPBROADCASTD (DX)(AX*4), Y8
	XORL         R10, R10

loop:
	VPXOR (SI)(R10*4), Y8, Y0
	WITHIN32
	JNE   hit

more:
	ADDQ $8, R10
	CMPQ R10, CX
	JLT  loop
	INCQ AX
	JMP  query

hit:
	BSFL R11, R12
	ADDQ R10, R12
	CMPQ R12, CX
	JGE  more
	MOVL R12, (DI)(BX*8)
	MOVL AX, 4(DI)(BX*8)
	INCQ BX
	LEAL -1(R11), R12
	ANDL R12, R11
	JNE  hit
	JMP  more

done:
	MOVQ BX, n+80(FP)
	MOVQ AX, done+88(FP)
	VZEROUPPER
	RET
