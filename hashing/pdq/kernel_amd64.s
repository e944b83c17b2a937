#include "textflag.h"

// Everything works on tiles of 64 lanes, each lane with a running sum of its own: 4 registers of 16
// in AVX-512, 8 of 8 in AVX2. What each function does is said in kernel_amd64.go.

// Signs off, the limit of a step, and the two factors of the quality.
#define ABSMASK $0x7fffffff
#define LIMIT   $0x47800000 // 65536
#define HUNDRED $0x42c80000 // 100
#define FULL    $0x437f0000 // 255

// ---------------------------------------------------------------------------------------------
// AVX-512

// sum += newest; sum -= oldest
#define SLIDE(off, sum) \
	VADDPS off(SI), sum, sum; \
	VSUBPS off(DX), sum, sum

#define DIVIDE(off, sum, by, q) \
	VDIVPS  by, sum, q; \
	VMOVUPS q, off(DI)

// The quotient of a count by its rounded reciprocal r: q = sum*r, q += (sum - q*count) * r, where the
// remainder is exact.
#define REFINE(off, sum, by, r, q, e) \
	VMULPS        r, sum, q; \
	VMOVAPS       sum, e; \
	VFNMADD231PS  by, q, e; \
	VFMADD231PS   r, e, q; \
	VMOVUPS       q, off(DI)

#define COLUMNS_ARGS \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ stride+16(FP), R8; \
	MOVQ SI, DX; \
	SUBQ back+24(FP), DX; \
	MOVQ sums+32(FP), R10; \
	MOVQ counts+40(FP), R11; \
	MOVQ recips+48(FP), R12; \
	MOVQ n+56(FP), CX

#define COLUMNS_NEXT \
	ADDQ $4, R11; \
	ADDQ $4, R12; \
	ADDQ $256, DI; \
	ADDQ R8, SI; \
	ADDQ R8, DX; \
	DECQ CX

#define LOAD64(p) \
	VMOVUPS (p), Z0; \
	VMOVUPS 64(p), Z1; \
	VMOVUPS 128(p), Z2; \
	VMOVUPS 192(p), Z3

#define STORE64(p) \
	VMOVUPS Z0, (p); \
	VMOVUPS Z1, 64(p); \
	VMOVUPS Z2, 128(p); \
	VMOVUPS Z3, 192(p)

#define SLIDE64 \
	SLIDE(0, Z0); \
	SLIDE(64, Z1); \
	SLIDE(128, Z2); \
	SLIDE(192, Z3)

// func columnsAVX512(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)
TEXT ·columnsAVX512(SB), NOSPLIT, $0-64
	COLUMNS_ARGS
	LOAD64(R10)

loop:
	VBROADCASTSS (R11), Z8
	SLIDE64
	DIVIDE(0, Z0, Z8, Z4)
	DIVIDE(64, Z1, Z8, Z5)
	DIVIDE(128, Z2, Z8, Z6)
	DIVIDE(192, Z3, Z8, Z7)
	COLUMNS_NEXT
	JNZ  loop
	STORE64(R10)
	VZEROUPPER
	RET

// func refinedAVX512(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)
TEXT ·refinedAVX512(SB), NOSPLIT, $0-64
	COLUMNS_ARGS
	LOAD64(R10)

loop:
	VBROADCASTSS (R11), Z8
	VBROADCASTSS (R12), Z9
	SLIDE64
	REFINE(0, Z0, Z8, Z9, Z4, Z10)
	REFINE(64, Z1, Z8, Z9, Z5, Z11)
	REFINE(128, Z2, Z8, Z9, Z6, Z12)
	REFINE(192, Z3, Z8, Z9, Z7, Z13)
	COLUMNS_NEXT
	JNZ  loop
	STORE64(R10)
	VZEROUPPER
	RET

// func leastAVX512(src *float32, n int) uint32
TEXT ·leastAVX512(SB), NOSPLIT, $0-20
	MOVQ       src+0(FP), SI
	MOVQ       n+8(FP), CX
	VPTERNLOGD $0xff, Z0, Z0, Z0 // all ones: -1
	VMOVDQA64  Z0, Z1
	VMOVDQA64  Z0, Z2

loop:
	VMOVDQU64 (SI), Z3
	VMOVDQU64 64(SI), Z4
	VMOVDQU64 128(SI), Z5
	VMOVDQU64 192(SI), Z6
	VPADDD    Z3, Z3, Z3
	VPADDD    Z4, Z4, Z4
	VPADDD    Z5, Z5, Z5
	VPADDD    Z6, Z6, Z6
	VPADDD    Z2, Z3, Z3
	VPADDD    Z2, Z4, Z4
	VPADDD    Z2, Z5, Z5
	VPADDD    Z2, Z6, Z6
	VPMINUD   Z3, Z0, Z0
	VPMINUD   Z4, Z1, Z1
	VPMINUD   Z5, Z0, Z0
	VPMINUD   Z6, Z1, Z1
	ADDQ      $256, SI
	DECQ      CX
	JNZ       loop

	VPMINUD       Z1, Z0, Z0
	VEXTRACTI64X4 $1, Z0, Y1
	VPMINUD       Y1, Y0, Y0
	VEXTRACTI128  $1, Y0, X1
	VPMINUD       X1, X0, X0
	VPSHUFD       $0x4e, X0, X1
	VPMINUD       X1, X0, X0
	VPSHUFD       $0xb1, X0, X1
	VPMINUD       X1, X0, X0
	VMOVD         X0, AX
	MOVL          AX, ret+16(FP)
	VZEROUPPER
	RET

// func sampledAVX512(dst, src *float32, back int, steps *int, counts *float32, n int)
TEXT ·sampledAVX512(SB), NOSPLIT, $0-48
	MOVQ   dst+0(FP), DI
	MOVQ   src+8(FP), SI
	MOVQ   SI, DX
	SUBQ   back+16(FP), DX
	MOVQ   steps+24(FP), R10
	MOVQ   counts+32(FP), R11
	MOVQ   n+40(FP), CX
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3

sample:
	MOVQ  (R10), BX
	TESTQ BX, BX
	JLE   divide

step:
	SLIDE64
	ADDQ $256, SI
	ADDQ $256, DX
	DECQ BX
	JNZ  step

divide:
	VBROADCASTSS (R11), Z8
	DIVIDE(0, Z0, Z8, Z4)
	DIVIDE(64, Z1, Z8, Z5)
	DIVIDE(128, Z2, Z8, Z6)
	DIVIDE(192, Z3, Z8, Z7)
	ADDQ         $8, R10
	ADDQ         $4, R11
	ADDQ         $256, DI
	DECQ         CX
	JNZ          sample
	VZEROUPPER
	RET

// Rows m, 4+m, 8+m and 12+m of four columns, one row to each quarter of a register.
#define GATHER16(p, q, u, v, x, z) \
	VMOVUPS      p, x; \
	VINSERTF32X4 $1, q, z, z; \
	VINSERTF32X4 $2, u, z, z; \
	VINSERTF32X4 $3, v, z, z

// func transposeAVX512(dst *float32, dstStride int, src *float32, srcStride int)
TEXT ·transposeAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ dstStride+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ srcStride+24(FP), AX
	LEAQ (AX)(AX*2), DX       // three rows of src
	LEAQ (BX)(BX*2), R13      // three rows of dst
	MOVQ $4, CX

band:
	MOVQ SI, R8
	LEAQ (R8)(AX*4), R9
	LEAQ (R9)(AX*4), R10
	LEAQ (R10)(AX*4), R11
	LEAQ (R11)(AX*4), SI
	MOVQ DI, R12
	MOVQ $16, R15

quarter:
	GATHER16((R8), (R9), (R10), (R11), X0, Z0)
	GATHER16((R8)(AX*1), (R9)(AX*1), (R10)(AX*1), (R11)(AX*1), X1, Z1)
	GATHER16((R8)(AX*2), (R9)(AX*2), (R10)(AX*2), (R11)(AX*2), X2, Z2)
	GATHER16((R8)(DX*1), (R9)(DX*1), (R10)(DX*1), (R11)(DX*1), X3, Z3)
	VUNPCKLPS Z1, Z0, Z4
	VUNPCKHPS Z1, Z0, Z5
	VUNPCKLPS Z3, Z2, Z6
	VUNPCKHPS Z3, Z2, Z7
	VUNPCKLPD Z6, Z4, Z8
	VUNPCKHPD Z6, Z4, Z9
	VUNPCKLPD Z7, Z5, Z10
	VUNPCKHPD Z7, Z5, Z11
	VMOVUPS   Z8, (R12)
	VMOVUPS   Z9, (R12)(BX*1)
	VMOVUPS   Z10, (R12)(BX*2)
	VMOVUPS   Z11, (R12)(R13*1)
	LEAQ      (R12)(BX*4), R12
	ADDQ      $16, R8
	ADDQ      $16, R9
	ADDQ      $16, R10
	ADDQ      $16, R11
	DECQ      R15
	JNZ       quarter
	ADDQ      $64, DI
	DECQ      CX
	JNZ       band
	VZEROUPPER
	RET

// Eight bytes and the four after them, for each quarter of a register.
DATA ·overlapping<>+0(SB)/8, $0
DATA ·overlapping<>+8(SB)/8, $1
DATA ·overlapping<>+16(SB)/8, $1
DATA ·overlapping<>+24(SB)/8, $2
DATA ·overlapping<>+32(SB)/8, $2
DATA ·overlapping<>+40(SB)/8, $3
DATA ·overlapping<>+48(SB)/8, $3
DATA ·overlapping<>+56(SB)/8, $4
GLOBL ·overlapping<>(SB), RODATA|NOPTR, $64

// func boxBytesAVX512(dst *float32, src *uint8, n, size int, count, recip float32)
TEXT ·boxBytesAVX512(SB), NOSPLIT, $0-40
	MOVQ         dst+0(FP), R9
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	MOVQ         size+24(FP), R8
	VBROADCASTSS count+32(FP), Z8
	VBROADCASTSS recip+36(FP), Z9
	VMOVDQU64    ·overlapping<>(SB), Z16
	MOVQ         $0x7ffffffff, AX
	KMOVQ        AX, K1               // 35 bytes
	VPXORQ       Z17, Z17, Z17
	SUBQ         $64, CX            // where the last 64 begin
	XORQ         AX, AX

next:
	LEAQ   (SI)(AX*1), DX
	MOVQ   R8, BX
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	SUBQ   $4, BX
	JL     rest

four: // sums of four bytes from each of 64 places
	VMOVDQU8.Z (DX), K1, Z2
	VMOVDQU8.Z 32(DX), K1, Z3
	VPERMQ     Z2, Z16, Z2
	VPERMQ     Z3, Z16, Z3
	VDBPSADBW  $0x94, Z2, Z17, Z2
	VDBPSADBW  $0x94, Z3, Z17, Z3
	VPADDW     Z2, Z0, Z0
	VPADDW     Z3, Z1, Z1
	ADDQ       $4, DX
	SUBQ       $4, BX
	JGE        four

rest:
	ADDQ $4, BX
	JZ   convert

one:
	VPMOVZXBW (DX), Z2
	VPMOVZXBW 32(DX), Z3
	VPADDW    Z2, Z0, Z0
	VPADDW    Z3, Z1, Z1
	INCQ      DX
	DECQ      BX
	JNZ       one

convert:
	LEAQ          (R9)(AX*4), DI
	VEXTRACTI64X4 $1, Z0, Y2
	VEXTRACTI64X4 $1, Z1, Y3
	VPMOVZXWD     Y0, Z0
	VPMOVZXWD     Y1, Z1
	VPMOVZXWD     Y2, Z2
	VPMOVZXWD     Y3, Z3
	VCVTDQ2PS     Z0, Z0
	VCVTDQ2PS     Z1, Z1
	VCVTDQ2PS     Z2, Z2
	VCVTDQ2PS     Z3, Z3
	REFINE(0, Z0, Z8, Z9, Z4, Z10)
	REFINE(64, Z2, Z8, Z9, Z5, Z11)
	REFINE(128, Z1, Z8, Z9, Z6, Z12)
	REFINE(192, Z3, Z8, Z9, Z7, Z13)
	CMPQ          AX, CX
	JGE           done
	ADDQ          $64, AX
	CMPQ          AX, CX
	CMOVQGT       CX, AX
	JMP           next

done:
	VZEROUPPER
	RET

#define PRODUCT(i, sum, t) \
	VMULPS.BCST (i*256)(SI), Z16, t; \
	VADDPS      t, sum, sum

// func productAVX512(dst, left, right *float32, n int)
TEXT ·productAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ right+16(FP), DX
	MOVQ n+24(FP), CX
	LEAQ (CX*4), R8       // bytes of a row
	SHRQ $4, CX

strip:
	MOVQ   left+8(FP), SI
	MOVQ   DX, R9
	MOVQ   $64, BX
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	VPXORQ Z4, Z4, Z4
	VPXORQ Z5, Z5, Z5
	VPXORQ Z6, Z6, Z6
	VPXORQ Z7, Z7, Z7
	VPXORQ Z8, Z8, Z8
	VPXORQ Z9, Z9, Z9
	VPXORQ Z10, Z10, Z10
	VPXORQ Z11, Z11, Z11
	VPXORQ Z12, Z12, Z12
	VPXORQ Z13, Z13, Z13
	VPXORQ Z14, Z14, Z14
	VPXORQ Z15, Z15, Z15

term:
	VMOVUPS (R9), Z16
	PRODUCT(0, Z0, Z17)
	PRODUCT(1, Z1, Z18)
	PRODUCT(2, Z2, Z19)
	PRODUCT(3, Z3, Z20)
	PRODUCT(4, Z4, Z21)
	PRODUCT(5, Z5, Z22)
	PRODUCT(6, Z6, Z23)
	PRODUCT(7, Z7, Z24)
	PRODUCT(8, Z8, Z17)
	PRODUCT(9, Z9, Z18)
	PRODUCT(10, Z10, Z19)
	PRODUCT(11, Z11, Z20)
	PRODUCT(12, Z12, Z21)
	PRODUCT(13, Z13, Z22)
	PRODUCT(14, Z14, Z23)
	PRODUCT(15, Z15, Z24)
	ADDQ    R8, R9
	ADDQ    $4, SI
	DECQ    BX
	JNZ     term

	MOVQ    DI, R10
	VMOVUPS Z0, (R10)
	VMOVUPS Z1, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Z2, (R10)
	VMOVUPS Z3, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Z4, (R10)
	VMOVUPS Z5, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Z6, (R10)
	VMOVUPS Z7, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Z8, (R10)
	VMOVUPS Z9, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Z10, (R10)
	VMOVUPS Z11, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Z12, (R10)
	VMOVUPS Z13, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Z14, (R10)
	VMOVUPS Z15, (R10)(R8*1)
	ADDQ    $64, DI
	ADDQ    $64, DX
	DECQ    CX
	JNZ     strip
	VZEROUPPER
	RET

#define CONSTANT(bits, r) \
	MOVL         bits, AX; \
	VPBROADCASTD AX, r

#define STEP(u) \
	VPANDD     Z28, u, u; \
	VMULPS     Z29, u, u; \
	VDIVPS     Z30, u, u; \
	VMINPS     Z31, u, u; \
	VCVTTPS2DQ u, u; \
	VPADDD     u, Z0, Z0

// func stepsAVX512(samples *float32) int
TEXT ·stepsAVX512(SB), NOSPLIT, $0-16
	MOVQ   samples+0(FP), SI
	CONSTANT(ABSMASK, Z28)
	CONSTANT(HUNDRED, Z29)
	CONSTANT(FULL, Z30)
	CONSTANT(LIMIT, Z31)
	MOVL   $0x7fff, AX
	KMOVW  AX, K1
	VPXORQ Z0, Z0, Z0
	MOVQ   SI, DI
	MOVQ   $252, CX            // 63 rows of 4

vertical:
	VMOVUPS (DI), Z1
	VSUBPS  256(DI), Z1, Z1
	STEP(Z1)
	ADDQ    $64, DI
	DECQ    CX
	JNZ     vertical
	MOVQ    $64, CX

horizontal:
	VMOVUPS   (SI), Z1
	VMOVUPS   64(SI), Z2
	VMOVUPS   128(SI), Z3
	VMOVUPS.Z 192(SI), K1, Z4
	VMOVUPS.Z 196(SI), K1, Z5
	VSUBPS    4(SI), Z1, Z1
	VSUBPS    68(SI), Z2, Z2
	VSUBPS    132(SI), Z3, Z3
	VSUBPS    Z5, Z4, Z4
	STEP(Z1)
	STEP(Z2)
	STEP(Z3)
	STEP(Z4)
	ADDQ      $256, SI
	DECQ      CX
	JNZ       horizontal

	VEXTRACTI64X4 $1, Z0, Y1
	VPADDD        Y1, Y0, Y0
	VEXTRACTI128  $1, Y0, X1
	VPADDD        X1, X0, X0
	VPSHUFD       $0x4e, X0, X1
	VPADDD        X1, X0, X0
	VPSHUFD       $0xb1, X0, X1
	VPADDD        X1, X0, X0
	VMOVD         X0, AX
	MOVQ          AX, ret+8(FP)
	VZEROUPPER
	RET

// ---------------------------------------------------------------------------------------------
// AVX2

#define LOAD64Y(p) \
	VMOVUPS (p), Y0; \
	VMOVUPS 32(p), Y1; \
	VMOVUPS 64(p), Y2; \
	VMOVUPS 96(p), Y3; \
	VMOVUPS 128(p), Y4; \
	VMOVUPS 160(p), Y5; \
	VMOVUPS 192(p), Y6; \
	VMOVUPS 224(p), Y7

#define STORE64Y(p) \
	VMOVUPS Y0, (p); \
	VMOVUPS Y1, 32(p); \
	VMOVUPS Y2, 64(p); \
	VMOVUPS Y3, 96(p); \
	VMOVUPS Y4, 128(p); \
	VMOVUPS Y5, 160(p); \
	VMOVUPS Y6, 192(p); \
	VMOVUPS Y7, 224(p)

#define SLIDE64Y \
	SLIDE(0, Y0); \
	SLIDE(32, Y1); \
	SLIDE(64, Y2); \
	SLIDE(96, Y3); \
	SLIDE(128, Y4); \
	SLIDE(160, Y5); \
	SLIDE(192, Y6); \
	SLIDE(224, Y7)

#define DIVIDE64Y \
	DIVIDE(0, Y0, Y8, Y9); \
	DIVIDE(32, Y1, Y8, Y10); \
	DIVIDE(64, Y2, Y8, Y11); \
	DIVIDE(96, Y3, Y8, Y12); \
	DIVIDE(128, Y4, Y8, Y13); \
	DIVIDE(160, Y5, Y8, Y14); \
	DIVIDE(192, Y6, Y8, Y15); \
	DIVIDE(224, Y7, Y8, Y9)

// func columnsAVX2(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)
TEXT ·columnsAVX2(SB), NOSPLIT, $0-64
	COLUMNS_ARGS
	LOAD64Y(R10)

loop:
	VBROADCASTSS (R11), Y8
	SLIDE64Y
	DIVIDE64Y
	COLUMNS_NEXT
	JNZ  loop
	STORE64Y(R10)
	VZEROUPPER
	RET

// func refinedAVX2(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)
TEXT ·refinedAVX2(SB), NOSPLIT, $0-64
	COLUMNS_ARGS
	LOAD64Y(R10)

loop:
	VBROADCASTSS (R11), Y8
	VBROADCASTSS (R12), Y9
	SLIDE64Y
	REFINE(0, Y0, Y8, Y9, Y10, Y13)
	REFINE(32, Y1, Y8, Y9, Y11, Y14)
	REFINE(64, Y2, Y8, Y9, Y12, Y15)
	REFINE(96, Y3, Y8, Y9, Y10, Y13)
	REFINE(128, Y4, Y8, Y9, Y11, Y14)
	REFINE(160, Y5, Y8, Y9, Y12, Y15)
	REFINE(192, Y6, Y8, Y9, Y10, Y13)
	REFINE(224, Y7, Y8, Y9, Y11, Y14)
	COLUMNS_NEXT
	JNZ  loop
	STORE64Y(R10)
	VZEROUPPER
	RET

// func leastAVX2(src *float32, n int) uint32
TEXT ·leastAVX2(SB), NOSPLIT, $0-20
	MOVQ     src+0(FP), SI
	MOVQ     n+8(FP), CX
	SHLQ     $1, CX
	VPCMPEQD Y0, Y0, Y0   // all ones: -1
	VMOVDQA  Y0, Y1
	VMOVDQA  Y0, Y2

loop:
	VMOVDQU (SI), Y3
	VMOVDQU 32(SI), Y4
	VMOVDQU 64(SI), Y5
	VMOVDQU 96(SI), Y6
	VPADDD  Y3, Y3, Y3
	VPADDD  Y4, Y4, Y4
	VPADDD  Y5, Y5, Y5
	VPADDD  Y6, Y6, Y6
	VPADDD  Y2, Y3, Y3
	VPADDD  Y2, Y4, Y4
	VPADDD  Y2, Y5, Y5
	VPADDD  Y2, Y6, Y6
	VPMINUD Y3, Y0, Y0
	VPMINUD Y4, Y1, Y1
	VPMINUD Y5, Y0, Y0
	VPMINUD Y6, Y1, Y1
	ADDQ    $128, SI
	DECQ    CX
	JNZ     loop

	VPMINUD      Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPMINUD      X1, X0, X0
	VPSHUFD      $0x4e, X0, X1
	VPMINUD      X1, X0, X0
	VPSHUFD      $0xb1, X0, X1
	VPMINUD      X1, X0, X0
	VMOVD        X0, AX
	MOVL         AX, ret+16(FP)
	VZEROUPPER
	RET

// func sampledAVX2(dst, src *float32, back int, steps *int, counts *float32, n int)
TEXT ·sampledAVX2(SB), NOSPLIT, $0-48
	MOVQ   dst+0(FP), DI
	MOVQ   src+8(FP), SI
	MOVQ   SI, DX
	SUBQ   back+16(FP), DX
	MOVQ   steps+24(FP), R10
	MOVQ   counts+32(FP), R11
	MOVQ   n+40(FP), CX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7

sample:
	MOVQ  (R10), BX
	TESTQ BX, BX
	JLE   divide

step:
	SLIDE64Y
	ADDQ $256, SI
	ADDQ $256, DX
	DECQ BX
	JNZ  step

divide:
	VBROADCASTSS (R11), Y8
	DIVIDE64Y
	ADDQ         $8, R10
	ADDQ         $4, R11
	ADDQ         $256, DI
	DECQ         CX
	JNZ          sample
	VZEROUPPER
	RET

// Rows m and 4+m of four columns, one row to each half of a register.
#define GATHER8(p, q, x, y) \
	VMOVUPS     p, x; \
	VINSERTF128 $1, q, y, y

// func transposeAVX2(dst *float32, dstStride int, src *float32, srcStride int)
TEXT ·transposeAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ dstStride+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ srcStride+24(FP), AX
	LEAQ (AX)(AX*2), DX
	LEAQ (BX)(BX*2), R13
	MOVQ $8, CX

band:
	MOVQ SI, R8
	LEAQ (R8)(AX*4), R9
	LEAQ (R9)(AX*4), SI
	MOVQ DI, R12
	MOVQ $16, R15

quarter:
	GATHER8((R8), (R9), X0, Y0)
	GATHER8((R8)(AX*1), (R9)(AX*1), X1, Y1)
	GATHER8((R8)(AX*2), (R9)(AX*2), X2, Y2)
	GATHER8((R8)(DX*1), (R9)(DX*1), X3, Y3)
	VUNPCKLPS Y1, Y0, Y4
	VUNPCKHPS Y1, Y0, Y5
	VUNPCKLPS Y3, Y2, Y6
	VUNPCKHPS Y3, Y2, Y7
	VUNPCKLPD Y6, Y4, Y8
	VUNPCKHPD Y6, Y4, Y9
	VUNPCKLPD Y7, Y5, Y10
	VUNPCKHPD Y7, Y5, Y11
	VMOVUPS   Y8, (R12)
	VMOVUPS   Y9, (R12)(BX*1)
	VMOVUPS   Y10, (R12)(BX*2)
	VMOVUPS   Y11, (R12)(R13*1)
	LEAQ      (R12)(BX*4), R12
	ADDQ      $16, R8
	ADDQ      $16, R9
	DECQ      R15
	JNZ       quarter
	ADDQ      $32, DI
	DECQ      CX
	JNZ       band
	VZEROUPPER
	RET

// func boxBytesAVX2(dst *float32, src *uint8, n, size int, count, recip float32)
TEXT ·boxBytesAVX2(SB), NOSPLIT, $0-40
	MOVQ         dst+0(FP), R9
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	MOVQ         size+24(FP), R8
	VBROADCASTSS count+32(FP), Y8
	VBROADCASTSS recip+36(FP), Y9
	SUBQ         $32, CX            // where the last 32 begin
	XORQ         AX, AX

next:
	LEAQ  (SI)(AX*1), DX
	MOVQ  R8, BX
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1

add:
	VPMOVZXBW (DX), Y2
	VPMOVZXBW 16(DX), Y3
	VPADDW    Y2, Y0, Y0
	VPADDW    Y3, Y1, Y1
	INCQ      DX
	DECQ      BX
	JNZ       add

	LEAQ         (R9)(AX*4), DI
	VEXTRACTI128 $1, Y0, X2
	VEXTRACTI128 $1, Y1, X3
	VPMOVZXWD    X0, Y0
	VPMOVZXWD    X1, Y1
	VPMOVZXWD    X2, Y2
	VPMOVZXWD    X3, Y3
	VCVTDQ2PS    Y0, Y0
	VCVTDQ2PS    Y1, Y1
	VCVTDQ2PS    Y2, Y2
	VCVTDQ2PS    Y3, Y3
	REFINE(0, Y0, Y8, Y9, Y4, Y10)
	REFINE(32, Y2, Y8, Y9, Y5, Y11)
	REFINE(64, Y1, Y8, Y9, Y6, Y12)
	REFINE(96, Y3, Y8, Y9, Y7, Y13)
	CMPQ         AX, CX
	JGE          done
	ADDQ         $32, AX
	CMPQ         AX, CX
	CMOVQGT      CX, AX
	JMP          next

done:
	VZEROUPPER
	RET

#define PRODUCTY(i, sum, t) \
	VBROADCASTSS (i*256)(SI), t; \
	VMULPS       Y8, t, t; \
	VADDPS       t, sum, sum

// func productAVX2(dst, left, right *float32, n int)
TEXT ·productAVX2(SB), NOSPLIT, $0-32
	MOVQ left+8(FP), R11
	MOVQ dst+0(FP), R12
	MOVQ n+24(FP), R13
	MOVQ $2, R15
	LEAQ (R13*4), R8     // bytes of a row

half: // of the 16 rows
	MOVQ R12, DI
	MOVQ right+16(FP), DX
	MOVQ R13, CX
	SHRQ $3, CX

strip:
	MOVQ   R11, SI
	MOVQ   DX, R9
	MOVQ   $64, BX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7

term:
	VMOVUPS (R9), Y8
	PRODUCTY(0, Y0, Y9)
	PRODUCTY(1, Y1, Y10)
	PRODUCTY(2, Y2, Y11)
	PRODUCTY(3, Y3, Y12)
	PRODUCTY(4, Y4, Y13)
	PRODUCTY(5, Y5, Y14)
	PRODUCTY(6, Y6, Y15)
	PRODUCTY(7, Y7, Y9)
	ADDQ    R8, R9
	ADDQ    $4, SI
	DECQ    BX
	JNZ     term

	MOVQ    DI, R10
	VMOVUPS Y0, (R10)
	VMOVUPS Y1, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Y2, (R10)
	VMOVUPS Y3, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Y4, (R10)
	VMOVUPS Y5, (R10)(R8*1)
	LEAQ    (R10)(R8*2), R10
	VMOVUPS Y6, (R10)
	VMOVUPS Y7, (R10)(R8*1)
	ADDQ    $32, DI
	ADDQ    $32, DX
	DECQ    CX
	JNZ     strip
	LEAQ    (R12)(R8*8), R12
	ADDQ    $2048, R11       // 8 rows of 64
	DECQ    R15
	JNZ     half
	VZEROUPPER
	RET

#define CONSTANTY(bits, x, y) \
	MOVL         bits, AX; \
	VMOVD        AX, x; \
	VPBROADCASTD x, y

#define STEPY(u) \
	VANDPS     Y12, u, u; \
	VMULPS     Y13, u, u; \
	VDIVPS     Y14, u, u; \
	VMINPS     Y15, u, u; \
	VCVTTPS2DQ u, u; \
	VPADDD     u, Y0, Y0

DATA ·sevenLanes<>+0(SB)/8, $0xffffffffffffffff
DATA ·sevenLanes<>+8(SB)/8, $0xffffffffffffffff
DATA ·sevenLanes<>+16(SB)/8, $0xffffffffffffffff
DATA ·sevenLanes<>+24(SB)/8, $0x00000000ffffffff
GLOBL ·sevenLanes<>(SB), RODATA|NOPTR, $32

// func stepsAVX2(samples *float32) int
TEXT ·stepsAVX2(SB), NOSPLIT, $0-16
	MOVQ    samples+0(FP), SI
	CONSTANTY(ABSMASK, X12, Y12)
	CONSTANTY(HUNDRED, X13, Y13)
	CONSTANTY(FULL, X14, Y14)
	CONSTANTY(LIMIT, X15, Y15)
	VMOVUPS ·sevenLanes<>(SB), Y11
	VXORPS  Y0, Y0, Y0
	MOVQ    SI, DI
	MOVQ    $504, CX               // 63 rows of 8

vertical:
	VMOVUPS (DI), Y1
	VSUBPS  256(DI), Y1, Y1
	STEPY(Y1)
	ADDQ    $32, DI
	DECQ    CX
	JNZ     vertical
	MOVQ    $64, CX

row:
	MOVQ $7, BX

horizontal:
	VMOVUPS (SI), Y1
	VSUBPS  4(SI), Y1, Y1
	STEPY(Y1)
	ADDQ    $32, SI
	DECQ    BX
	JNZ     horizontal

	VMASKMOVPS (SI), Y11, Y1
	VMASKMOVPS 4(SI), Y11, Y2
	VSUBPS     Y2, Y1, Y1
	STEPY(Y1)
	ADDQ       $32, SI
	DECQ       CX
	JNZ        row

	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4e, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xb1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, AX
	MOVQ         AX, ret+8(FP)
	VZEROUPPER
	RET
