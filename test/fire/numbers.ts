/** All the numbers (`npm run test:fire:full`), or small ones that take minutes. */
export const isFull = process.env['FIRE'] === 'full';
