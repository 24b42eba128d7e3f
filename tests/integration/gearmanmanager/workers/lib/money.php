<?php
/** Amounts as text and as whole cents. A helper: it lies deeper than the functions' files and serves nothing. */

function cents(string $amount): int
{
    return (int) round((float) $amount * 100);
}

function euros(int $cents): string
{
    return number_format($cents / 100, 2, '.', '');
}
